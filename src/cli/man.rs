//! `keygate man`: the manual, from the words of `--help`. One page about everything, which is what somebody reads who
//! looks for something; or a page a command, which is what packages install.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;

use crate::cli::FAILED;
use crate::cli::print;

/// What `apropos` and the page's last line call it.
const MANUAL: &str = "keygate";
const SECTION: &str = "1";

const EXIT_STATUS: &str = ".SH \"EXIT STATUS\"\n.TP\n0\nfine\n.TP\n1\nsomething could not be done\n\
                           .TP\n2\nthe command or the configuration is wrong\n";

pub(super) fn run(command: Command, dir: Option<&Path>) -> ExitCode {
    let mut command = without_help(command.disable_help_subcommand(true));
    command.build();
    let done = match dir {
        None => whole(&command).map(|page| print::raw(page.as_bytes())),
        Some(dir) => write_all(&command, dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { place, error }) => {
            print::error(
                format_args!("cannot write the manual: {}: {error}", place.display()),
                Some("name a folder that is there, and that you may write"),
            );
            ExitCode::from(FAILED)
        }
    }
}

/// Why there is no page.
struct Failure {
    place: PathBuf,
    error: io::Error,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            place: "a page".into(),
            error,
        }
    }
}

/// That every command has --help need not be said thirty times.
fn without_help(command: Command) -> Command {
    command
        .disable_help_flag(true)
        .mut_subcommands(without_help)
}

/// A page for each command, named as `man` looks for it.
fn write_all(command: &Command, dir: &Path) -> Result<(), Failure> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let place = dir.join(format!("{name}.{SECTION}"));
    let page = page(command)?;
    let written = File::create(&place).and_then(|mut file| file.write_all(page.as_bytes()));
    written.map_err(|error| Failure { place, error })?;
    let mut below = command.get_subcommands();
    below.try_for_each(|command| write_all(command, dir))
}

/// All commands on one page: the program first, then each command in the order of `--help`.
fn whole(command: &Command) -> Result<String, Failure> {
    let man = Man::new(command.clone());
    let mut page = beginning(command);
    page += &rendered(|to| {
        man.render_name_section(to)?;
        man.render_synopsis_section(to)?;
        man.render_description_section(to)
    })?;
    for command in command.get_subcommands() {
        add(command, &mut page)?;
    }
    page += EXIT_STATUS;
    Ok(page)
}

/// A page about one command.
fn page(command: &Command) -> Result<String, Failure> {
    let man = Man::new(command.clone()).section(SECTION);
    let mut page = beginning(command);
    page += &rendered(|to| {
        man.render_name_section(to)?;
        man.render_synopsis_section(to)?;
        man.render_description_section(to)?;
        if has_options(command) {
            man.render_options_section(to)?;
        }
        if command.has_subcommands() {
            man.render_subcommands_section(to)?;
        }
        Ok(())
    })?;
    page += &examples(command, "SH");
    page += EXIT_STATUS;
    Ok(page)
}

/// A command and those below it, as sections of the one page.
fn add(command: &Command, page: &mut String) -> Result<(), Failure> {
    let man = Man::new(command.clone());
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let _ = writeln!(page, ".SH \"{}\"", name.to_uppercase());
    let about = rendered(|to| {
        man.render_description_section(to)?;
        man.render_synopsis_section(to)?;
        if has_options(command) {
            man.render_options_section(to)?;
        }
        Ok(())
    })?;
    // One level down; what the command is stands right below its name.
    *page += &about
        .replace(".SH DESCRIPTION\n", "")
        .replace(".SH ", ".SS ");
    *page += &examples(command, "SS");
    let mut below = command.get_subcommands();
    below.try_for_each(|command| add(command, page))
}

/// The title, and ragged lines: commands are not to be spread over the width. The page has no date, since the program
/// has none; the crate would leave the empty field out, and the next would take its place.
fn beginning(command: &Command) -> String {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name());
    let version = env!("CARGO_PKG_VERSION");
    let name = name.to_uppercase();
    format!(".TH \"{name}\" \"{SECTION}\" \"\" \"keygate {version}\" \"{MANUAL}\"\n.ad l\n")
}

fn has_options(command: &Command) -> bool {
    command
        .get_arguments()
        .any(|argument| !argument.is_hide_set())
}

/// What stands below the options in `--help`, line by line as it stands there.
fn examples(command: &Command, level: &str) -> String {
    let Some(text) = command.get_after_help() else {
        return String::new();
    };
    let text = text.to_string();
    let (heading, lines) = match text.split_once(":\n") {
        Some((heading, lines)) if !heading.contains(' ') => (heading.to_uppercase(), lines),
        _ => ("NOTES".to_owned(), text.as_str()),
    };
    let mut section = format!(".{level} \"{heading}\"\n.nf\n");
    for line in lines.lines() {
        // A line that begins with a dot or a quote would be a request.
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let _ = writeln!(section, "\\&{line}");
    }
    section += ".fi\n";
    ascii(&section)
}

/// What the crate writes, without the breaks that stand around its empty lines.
fn rendered(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    render(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(ascii(&text.replace(".br\n\n.br\n", ".sp\n")))
}

/// Other characters by their numbers: not every roff reads UTF-8.
fn ascii(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            shown.push(c);
        } else {
            let _ = write!(shown, "\\[u{:04X}]", u32::from(c));
        }
    }
    shown
}
