//! The man pages, from the one definition of the options.

use clap::{Arg, ArgAction, Command, CommandFactory};
use roff::{Inline, Roff, bold, italic, roman};

use crate::args::Cli;
use crate::{config, exit};

/// What fits into a line of a terminal with 80 columns, less the margins of man.
const WIDTH: usize = 68;
const SOURCE: &str = concat!("reseed ", env!("CARGO_PKG_VERSION"));

/// Of the whole program, not of a command.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("RESEED_CONFIG", "Configuration file, as --config."),
    ("RESEED_SOURCE_PASSWORD", "Password of the replication account, as --source-password-file has it."),
    ("NO_COLOR", "No colours in the log, whatever it is written to."),
];

/// A man page: of `reseed`, of one of its commands, or of its configuration file.
#[derive(Debug)]
pub struct Page {
    /// What it is about; `None` for the program itself.
    pub topic: Option<String>,
    pub file_name: String,
    pub text: String,
}

pub fn pages() -> Vec<Page> {
    let mut root = Cli::command();
    root.build();
    let mut pages = vec![Page { topic: None, file_name: "reseed.1".to_owned(), text: page(&root, "reseed") }];
    command_pages(&root, "", &mut pages);
    pages.push(Page {
        topic: Some("reseed.toml".to_owned()),
        file_name: "reseed.toml.5".to_owned(),
        text: config::man_page(&root),
    });
    pages
}

/// Commands that are shown, each after its own commands.
fn command_pages(parent: &Command, prefix: &str, pages: &mut Vec<Page>) {
    for command in parent.get_subcommands().filter(|command| !command.is_hide_set()) {
        let topic = format!("{prefix}{}", command.get_name());
        command_pages(command, &format!("{topic}-"), pages);
        let title = format!("reseed-{topic}");
        let text = page(command, &title);
        pages.push(Page { file_name: format!("{title}.1"), topic: Some(topic), text });
    }
}

fn page(command: &Command, title: &str) -> String {
    let is_root = title == "reseed";
    let mut page = Roff::new();
    head(&mut page, title, "1");
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    section(&mut page, "NAME").text([roman(format!("{title} - {about}"))]);
    let words = title.replace('-', " ");
    // A command's own name may have a hyphen in it.
    let name = command.get_bin_name().map_or(words, str::to_owned);
    let usage = command.clone().bin_name(&name).render_usage().to_string();
    let rest = usage.trim_start_matches("Usage: ").trim().trim_start_matches(&name).to_owned();
    section(&mut page, "SYNOPSIS").text([bold(name), roman(rest)]);
    section(&mut page, "DESCRIPTION");
    let long = command.get_long_about().map_or(about, ToString::to_string);
    let paragraphs: Vec<&str> = long.split("\n\n").collect();
    // The first one stands above already.
    let described = if paragraphs.len() > 1 { paragraphs.get(1..) } else { paragraphs.get(..) };
    for (at, paragraph) in described.unwrap_or_default().iter().enumerate() {
        if at > 0 {
            page.control("PP", []);
        }
        page.text([roman(joined(paragraph))]);
    }
    options(&mut page, command);
    commands(&mut page, command, title);
    if let Some(help) = command.get_after_long_help() {
        examples(&mut page, &help.to_string());
    }
    if is_root {
        about_all(&mut page);
    }
    see_also(&mut page, title);
    finish(&page)
}

/// A release has no date before it is made.
const NO_DATE: &str = "NODATE";

/// The line that every page begins with.
pub fn head(page: &mut Roff, title: &str, section: &str) {
    page.control("TH", [title, section, NO_DATE, SOURCE, "reseed manual"]);
}

/// The page as text.
pub fn finish(page: &Roff) -> String {
    // An empty word is left out by the library, and would shift the others.
    page.to_roff().replacen(&format!(" {NO_DATE} "), " \"\" ", 1)
}

fn section<'a>(page: &'a mut Roff, title: &str) -> &'a mut Roff {
    page.control("SH", [title])
}

fn options(page: &mut Roff, command: &Command) {
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "help");
    let positionals: Vec<&Arg> = shown().filter(|arg| arg.is_positional()).collect();
    if !positionals.is_empty() {
        section(page, "ARGUMENTS");
        positionals.into_iter().for_each(|arg| item(page, arg));
    }
    section(page, "OPTIONS");
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in shown().filter(|arg| !arg.is_positional()) {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    // Those of the command first, those of every command last.
    let is_of_all =
        |heading: &Option<&str>| shown().any(|arg| arg.is_global_set() && arg.get_help_heading() == *heading);
    headings.sort_by_key(|heading| (is_of_all(heading), heading.is_some()));
    for heading in headings {
        if let Some(heading) = heading {
            page.control("SS", [heading]);
        }
        let of_it = shown().filter(|arg| !arg.is_positional() && arg.get_help_heading() == heading);
        of_it.for_each(|arg| item(page, arg));
    }
}

fn item(page: &mut Roff, arg: &Arg) {
    page.control("TP", []);
    page.text(spelling(arg));
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut paragraphs: Vec<String> = help.split("\n\n").map(joined).collect();
    let takes_value = takes_value(arg);
    let values = arg.get_possible_values();
    let values: Vec<_> = values.iter().filter(|value| takes_value && !value.is_hide_set()).collect();
    let explained = values.iter().any(|value| value.get_help().is_some());
    let mut more = Vec::new();
    // One possible value stands in the explanation.
    if !explained && values.len() > 1 {
        let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
        more.push(format!("One of {}.", names.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && defaults.iter().any(|value| !value.is_empty()) {
        more.push(format!("Default: {}.", defaults.join(", ")));
    }
    for paragraph in paragraphs.iter_mut().filter(|paragraph| !paragraph.ends_with('.')) {
        paragraph.push('.');
    }
    if let Some(last) = paragraphs.last_mut() {
        more.into_iter().for_each(|sentence| last.extend([" ", sentence.as_str()]));
    }
    for (at, paragraph) in paragraphs.into_iter().enumerate() {
        if at > 0 {
            page.control("sp", []);
        }
        page.text([roman(paragraph)]);
    }
    if explained {
        page.control("RS", []);
        for value in values {
            page.control("TP", []);
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            page.text([bold(value.get_name())]).text([roman(help)]);
        }
        page.control("RE", []);
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn spelling(arg: &Arg) -> Vec<Inline> {
    let mut parts = Vec::new();
    if let Some(short) = arg.get_short() {
        parts.extend([bold(format!("-{short}")), roman(", ")]);
    }
    if let Some(long) = arg.get_long() {
        parts.push(bold(format!("--{long}")));
    }
    if takes_value(arg) {
        for name in arg.get_value_names().unwrap_or_default() {
            if !parts.is_empty() {
                parts.push(roman(" "));
            }
            parts.push(italic(name.as_str()));
        }
    }
    parts
}

fn commands(page: &mut Roff, command: &Command, title: &str) {
    let mut shown = command.get_subcommands().filter(|command| !command.is_hide_set()).peekable();
    if shown.peek().is_none() {
        return;
    }
    section(page, "COMMANDS");
    for command in shown {
        page.control("TP", []);
        page.text([bold(format!("{title}-{}", command.get_name())), roman("(1)")]);
        page.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}

/// What a command has to show, as it is typed: a remark stands in a line that ends with a colon.
fn examples(page: &mut Roff, help: &str) {
    let Some(lines) = help.strip_prefix("Examples:\n") else { return };
    section(page, "EXAMPLES");
    let mut in_block = false;
    for line in lines.lines().take_while(|line| !line.is_empty()) {
        let is_remark = line.ends_with(':');
        if in_block && is_remark {
            page.control("fi", []).control("RE", []);
            in_block = false;
        }
        if is_remark {
            page.control("PP", []).text([roman(line.trim())]);
            continue;
        }
        if !in_block {
            page.control("RS", ["4"]).control("nf", []);
            in_block = true;
        }
        for piece in broken(line.trim_start()) {
            page.text([roman(piece)]);
        }
    }
    if in_block {
        page.control("fi", []).control("RE", []);
    }
}

/// A command line that is too long, over several lines, as a shell takes them.
fn broken(line: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = line;
    let is_continued = line.starts_with("--");
    loop {
        let indent = if pieces.is_empty() && !is_continued { "" } else { "    " };
        let room = WIDTH.saturating_sub(indent.len());
        let cut = (rest.len() > room).then(|| rest.get(..room.saturating_sub(2))).flatten();
        let at = cut.and_then(|text| [" --", " | "].iter().filter_map(|end| text.rfind(end)).max());
        match at.filter(|at| *at > 0).and_then(|at| rest.split_at_checked(at)) {
            Some((piece, left)) => {
                pieces.push(format!("{indent}{piece} \\"));
                rest = left.trim_start();
            }
            None => {
                pieces.push(format!("{indent}{rest}"));
                return pieces;
            }
        }
    }
}

/// What is true of the program, whatever the command.
fn about_all(page: &mut Roff) {
    section(page, "EXIT STATUS");
    for (_, code, meaning) in exit::TABLE {
        page.control("TP", []).text([bold(code.to_string())]).text([roman(*meaning)]);
    }
    section(page, "ENVIRONMENT");
    for (name, meaning) in ENVIRONMENT {
        page.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
    }
    section(page, "FILES");
    page.control("TP", []).text([bold(config::DEFAULT_FILE)]);
    page.text([
        roman("Values for options, for all servers and for each: see "),
        bold("reseed.toml"),
        roman("(5)."),
    ]);
}

fn see_also(page: &mut Roff, title: &str) {
    section(page, "SEE ALSO");
    if title == "reseed" {
        page.text([bold("reseed.toml"), roman("(5)")]);
    } else {
        page.text([
            bold("reseed"),
            roman("(1), which lists the exit codes, "),
            bold("reseed.toml"),
            roman("(5)"),
        ]);
    }
}

/// A paragraph in one line.
fn joined(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_broken_where_a_shell_goes_on() {
        let line =
            "reseed backup --repo /backup --name db1 --rate 200M --threads 2 --quiet --json --hours 20-6";
        let pieces = broken(line);
        assert_eq!(
            pieces,
            [
                "reseed backup --repo /backup --name db1 --rate 200M --threads 2 \\",
                "    --quiet --json --hours 20-6"
            ]
        );
        assert!(pages().iter().all(|page| page.text.contains(".SH NAME")));
        assert_eq!(broken("reseed list"), ["reseed list"]);
        // What cannot be broken is left as it is.
        let word = "x".repeat(90);
        assert_eq!(broken(&word), [word.as_str()]);
    }

    #[test]
    fn every_command_has_a_page() {
        let names: Vec<String> = pages().into_iter().map(|page| page.file_name).collect();
        for name in ["reseed.1", "reseed-hand-over.1", "reseed-config-show.1", "reseed.toml.5"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("reference")), "{names:?}");
    }
}
