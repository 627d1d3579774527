//! The reference of all options as Markdown, from the one definition of the options.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::args::Cli;

/// docs/reference/options.md. A test fails when the file differs from this.
pub fn options() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = String::from(
        "# Commands and options\n\n\
         Generated from the program's own definitions by `reseed reference options`; do not edit.\n\n",
    );
    let _ = writeln!(text, "## Options of every command\n");
    table(&mut text, root.get_arguments().filter(|arg| arg.is_global_set()));
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        section(&mut text, command, "reseed");
    }
    text
}

fn section(text: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string);
    let _ = writeln!(text, "\n## {name}\n");
    if let Some(about) = about {
        let _ = writeln!(text, "{}\n", about.trim());
    }
    let usage = command.clone().bin_name(&name).render_usage().to_string();
    let _ = writeln!(text, "    {}\n", usage.trim_start_matches("Usage: ").trim());
    table(text, command.get_arguments().filter(|arg| !arg.is_global_set()));
    if let Some(examples) = command.get_after_long_help() {
        let mut lines = examples.to_string();
        lines = lines.trim_start_matches("Examples:\n").to_owned();
        let _ = writeln!(text, "\nExamples:\n");
        for line in lines.lines() {
            let _ = writeln!(text, "    {}", line.strip_prefix("  ").unwrap_or(line));
        }
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        section(text, sub, &name);
    }
}

fn table<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let _ = writeln!(text, "| option | meaning |\n|---|---|");
    for argument in arguments.filter(|arg| !arg.is_hide_set() && arg.get_id() != "help") {
        let _ = writeln!(text, "| {} | {} |", spelling(argument), meaning(argument));
    }
}

fn spelling(argument: &Arg) -> String {
    let values = match argument.get_action() {
        ArgAction::Set | ArgAction::Append => argument
            .get_value_names()
            .map(|names| names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" "))
            .unwrap_or_default(),
        _ => String::new(),
    };
    let short = argument.get_short().map(|short| format!(", `-{short}`")).unwrap_or_default();
    match argument.get_long() {
        Some(long) if values.is_empty() => format!("`--{long}`{short}"),
        Some(long) => format!("`--{long} {values}`{short}"),
        None => format!("`{values}`"),
    }
}

pub fn meaning(argument: &Arg) -> String {
    let help =
        argument.get_long_help().or_else(|| argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let paragraphs =
        help.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let sentences: Vec<String> = paragraphs.map(|text| text.trim_end_matches('.').to_owned()).collect();
    let mut text = sentences.join(". ").replace('|', "\\|");
    let possible = argument.get_possible_values();
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    if takes_value && !possible.is_empty() {
        let values = possible.iter().filter(|value| !value.is_hide_set()).map(|value| {
            let help = value.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("`{}`{help}", value.get_name())
        });
        let _ = write!(text, ". Values: {}", values.collect::<Vec<_>>().join(", "));
    }
    if takes_value && !argument.get_default_values().is_empty() {
        let defaults =
            argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
        let _ = write!(text, ". Default: {}", defaults.collect::<Vec<_>>().join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{CommandFactory, Parser};

    use crate::args::Cli;
    use crate::config;

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_reference_is_up_to_date() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
        let root = config::root();
        for (file, page, fresh) in [
            ("options.md", "options", super::options()),
            ("exit-codes.md", "exit-codes", crate::exit::documentation()),
            ("config.md", "keys", config::reference(&root)),
            ("../../packaging/reseed.toml", "config", config::example(&root)),
        ] {
            let stored = std::fs::read_to_string(docs.join(file)).unwrap_or_default();
            assert!(
                stored == fresh,
                "docs/reference/{file} is out of date: `cargo run -p reseed -- reference {page}` prints it anew"
            );
        }
    }

    /// The `reseed …` command lines in a text, continued lines joined, up to a pipe, a redirection or a remark.
    fn command_lines(text: &str) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let mut fenced = false;
        for line in text.replace("\\\n", " ").lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            let line = line.trim_start_matches("0 * * * * root ");
            let Some(at) = line.find("reseed ") else { continue };
            let before = line.get(..at).unwrap_or_default();
            let begins = before.ends_with("    ") || (fenced && before.trim().is_empty());
            let a_command = begins || before.split_whitespace().last() == Some("root");
            if !(fenced || line.starts_with("  ")) || !a_command || line.contains('…') {
                continue;
            }
            let mut words: Vec<String> = Vec::new();
            let mut quoted = false;
            for piece in line.get(at..).unwrap_or_default().split('\'') {
                if quoted {
                    words.push(piece.to_owned());
                } else {
                    words.extend(piece.split_whitespace().map(str::to_owned));
                }
                quoted = !quoted;
            }
            let end = words.iter().position(|word| matches!(word.as_str(), "|" | ">" | "#" | "&&"));
            words.truncate(end.unwrap_or(words.len()));
            found.push(words);
        }
        found
    }

    #[test]
    fn commands_in_documents_and_examples_are_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut texts: Vec<(String, String)> = Vec::new();
        for folder in ["", "docs", "docs/runbooks", "packaging"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "md") {
                    texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            texts.push((command.get_name().to_owned(), help));
        }
        let mut checked = 0;
        for (place, text) in texts {
            for words in command_lines(&text) {
                // As with a configuration that names the repository and the rules.
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/documented.toml");
                let words: Vec<String> = words.into_iter().chain([format!("--config={file}")]).collect();
                let completed = config::complete(words.iter().map(Into::into).collect()).unwrap();
                let parsed = Cli::try_parse_from(&completed.words);
                assert!(parsed.is_ok(), "{place}: {}: {}", words.join(" "), parsed.unwrap_err());
                checked += 1;
            }
        }
        assert!(checked > 40, "only {checked} command lines were found");
    }

    /// Somebody who follows a trail in CONTRIBUTING.md must not end in the woods.
    #[test]
    fn the_trails_lead_somewhere() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
        for trail in ["redo record type", "exit code", "finding of check", "place to store sets"] {
            let heading = text.lines().find(|line| line.starts_with("### ") && line.contains(trail));
            let heading = heading.unwrap_or_else(|| unreachable!("no trail to a new {trail}"));
            let section = text.split(heading).nth(1).unwrap().split("\n#").next().unwrap();
            let named: Vec<&str> =
                section.split('`').skip(1).step_by(2).filter(|word| word.contains('/')).collect();
            assert!(named.len() > 2, "{heading}: {named:?}");
            for path in named {
                assert!(root.join(path).exists(), "{heading} names {path}, which is not there");
            }
        }
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "reseed {} --help has no examples", command.get_name());
            assert!(
                help.contains(&format!("reseed {}", command.get_name())),
                "{}: {help}",
                command.get_name()
            );
        }
    }
}
