// Says something to screen readers. A modal dialog silences all that is outside of it, so each has its own voice.

/** @param {string} text */
export function announce(text) {
  const dialogs = document.querySelectorAll('dialog:modal');
  const inside = dialogs[dialogs.length - 1]?.querySelector('.announcer');
  const voice = inside || document.getElementById('announcer');
  if (!voice) return;
  voice.textContent = '';
  setTimeout(() => (voice.textContent = text), 50);
}
