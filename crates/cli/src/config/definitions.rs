//! Which options may stand in the file: all of the commands that work on a named server, but for those that belong to
//! one call.

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::args::Cli;

/// Options that are given on the command line only, each with the reason.
pub const COMMAND_LINE_ONLY: &[(&str, &str)] = &[
    ("config", "it names this file"),
    ("name", "a server's name is that of its section"),
    ("json", "it belongs to one call"),
    ("to", "it belongs to one call"),
    ("from", "it belongs to one call"),
    ("raw", "it belongs to one call"),
    ("reason", "it belongs to one call"),
    ("parent", "it belongs to one call"),
    ("incremental", "the key is type"),
    ("dry-run", "it belongs to one call"),
    ("server", "it belongs to one call"),
    ("datadir", "what a restore overwrites is said where it is called"),
    ("move-aside", "what a restore overwrites is said where it is called"),
    ("delta", "what a restore overwrites is said where it is called"),
    ("replace", "what is cleared in a server is said where it is called"),
];

/// The heading of the options that say which server is meant.
pub const CONNECTION: &str = "Connection";

/// The option that says where the sets are.
pub const REPO: &str = "repo";

/// All definitions, with options that every command has told to each.
pub fn root() -> Command {
    let mut root = Cli::command();
    root.build();
    root
}

/// The command of this name, if the file has a say in it.
pub fn command<'a>(root: &'a Command, name: &str) -> Option<&'a Command> {
    commands(root).find(|command| command.get_name() == name)
}

/// The commands that work on a named server.
pub fn commands(root: &Command) -> impl Iterator<Item = &Command> {
    // `setup` works on a named server too, and is the one that writes the file.
    let named = |command: &&Command| {
        command.get_name() != "setup" && command.get_arguments().any(|arg| arg.get_long() == Some("name"))
    };
    root.get_subcommands().filter(named)
}

/// The options of a command that may stand in the file.
pub fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| is_configurable(command, arg))
}

/// The option of this long name, if the file may give it to the command.
pub fn option<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    options(command).find(|arg| arg.get_long() == Some(long))
}

fn is_configurable(command: &Command, arg: &Arg) -> bool {
    let of_the_call = matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpLong | ArgAction::Version);
    let Some(long) = arg.get_long().filter(|_| !of_the_call && !arg.is_hide_set()) else { return false };
    // The server to attach is the restored one, never the one that the section is about.
    let another_server = command.get_name() == "attach" && arg.get_help_heading() == Some(CONNECTION);
    !another_server && COMMAND_LINE_ONLY.iter().all(|(name, _)| *name != long)
}

/// Why an option does not stand in the section of a repository.
pub fn not_of_a_repository(arg: &Arg) -> Option<&'static str> {
    if arg.get_long() == Some(REPO) {
        return Some("its directory is path");
    }
    (arg.get_help_heading() == Some(CONNECTION)).then_some("it belongs to a server")
}

/// Whether an option is a switch, without a value.
pub fn is_switch(arg: &Arg) -> bool {
    !arg.get_action().takes_values()
}

/// Whether the option's value is a path.
pub fn is_path(arg: &Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().any(|name| matches!(name.as_str(), "DIR" | "FILE"))
}

/// Why the option's own definition does not take this value.
pub fn refusal(arg: &Arg, words: &[std::ffi::OsString]) -> Option<String> {
    let alone = arg
        .clone()
        .required(false)
        .conflicts_with(Resettable::Reset)
        .requires(Resettable::Reset)
        .required_unless_present(Resettable::Reset)
        .group(Resettable::Reset);
    let line = std::iter::once("reseed".into()).chain(words.iter().cloned());
    let error = Command::new("reseed").no_binary_name(false).arg(alone).try_get_matches_from(line).err()?;
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let possible = text.lines().map(str::trim).find(|line| line.starts_with("[possible values"));
    Some(possible.map_or_else(|| first.to_owned(), |possible| format!("{first} {possible}")))
}

/// The name among these that looks most like the one that is not known.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // In a short name one slip is a large part.
    let likeness = |known| match strsim::osa_distance(name, known) {
        1 => 1.0,
        _ => strsim::jaro_winkler(name, known),
    };
    let scored = known.into_iter().map(|known| (likeness(known), known));
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 > 0.75).then(|| best.1.to_owned())
}
