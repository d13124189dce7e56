// Before anything is painted: the theme that somebody chose. Classic and small, since modules run after the first paint.

{
  let chosen = null;
  try {
    chosen = localStorage.getItem('keygate.theme');
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.setAttribute('data-theme', chosen);
}
