//! What was done, in a few lines: what, where, how big, how long, which locks, which coordinates. Pure text.

use std::fmt::Write as _;

use reseed_terms::{BinlogPosition, Coordinates, Flavour, LockTimes, ReplicaChannel};

use crate::units::{Size, Time};

/// A line with a label in a column of its own.
pub fn line(label: &str, text: impl std::fmt::Display) -> String {
    format!("{label:<12} {text}")
}

pub fn backup(report: &reseed_backup::Report, name: &str) -> Vec<String> {
    let mut lines = vec![line("backed up", format_args!("{} as {name}, set {}", report.server, report.id))];
    if let Some(path) = &report.path {
        lines.push(line("where", path.display()));
    }
    lines.push(line(
        "how big",
        format_args!(
            "{} read in {}, {} stored, {} of redo",
            Size(report.bytes_read),
            count(report.files, "file"),
            Size(report.bytes_stored),
            Size(report.redo_bytes)
        ),
    ));
    lines.push(line(
        "how long",
        how_long(report.seconds, report.steps.iter().map(|step| (step.name, step.seconds))),
    ));
    lines.push(line("locks", locks(report.commits_held, &report.locks)));
    lines.extend(coordinates(&report.coordinates, report.server.flavour));
    lines.extend(report.notes.iter().map(|note| line("note", note)));
    lines
}

/// With the source's locks where the backup was taken by the same run.
pub fn restore(report: &reseed_restore::Report, cloned: bool) -> Vec<String> {
    let manifest = &report.manifest;
    let seconds: f64 = report.steps.iter().map(|step| step.took.as_secs_f64()).sum();
    let mut lines = vec![
        line("restored", format_args!("{} of {}, {}", manifest.id, manifest.name, manifest.server.version)),
        line("where", report.datadir.display()),
        line(
            "how big",
            format_args!(
                "{} written in {}{}, {} of redo{}",
                Size(report.bytes),
                count(report.files, "file"),
                report.equal.map(|bytes| format!(", {} were there already", Size(bytes))).unwrap_or_default(),
                Size(report.redo_bytes),
                match report.spilled + report.staged {
                    0 => String::new(),
                    bytes =>
                        format!(", {} of redo beyond --memory written to the staging directory", Size(bytes)),
                }
            ),
        ),
        line(
            "how long",
            how_long(seconds, report.steps.iter().map(|step| (step.name, step.took.as_secs_f64()))),
        ),
    ];
    if cloned {
        lines.push(line("locks", locks_of_source(&manifest.locks)));
    }
    if let Some(aside) = &report.moved_aside {
        let what = if report.equal.is_some() { "what was left of it" } else { "moved aside" };
        lines.push(line("old datadir", format_args!("{} ({what})", aside.display())));
    }
    if !report.kept.is_empty() {
        let kept: Vec<String> = report.kept.iter().map(|path| path.display().to_string()).collect();
        lines.push(line("kept", format_args!("{} (of the old datadir)", kept.join(", "))));
    }
    if let Some(file) = &report.hand_over {
        lines.push(line(
            "hand-over",
            format_args!("{} (the statements that make it a replica)", file.display()),
        ));
    }
    lines.extend(coordinates(&manifest.coordinates, manifest.server.version.flavour));
    lines.extend(report.notes.iter().map(|note| line("note", note)));
    lines
}

/// `12.3 s (look 0.2 s, copy 11.9 s)`; what took no time to speak of is left out.
pub fn how_long<'a>(whole: f64, steps: impl Iterator<Item = (&'a str, f64)>) -> String {
    let parts: Vec<String> = steps
        .filter(|(_, seconds)| *seconds >= 0.05 && *seconds >= whole / 100.0)
        .map(|(name, seconds)| format!("{name} {}", Time::seconds(seconds)))
        .collect();
    let mut text = Time::seconds(whole).to_string();
    if parts.len() > 1 {
        let _ = write!(text, " ({})", parts.join(", "));
    }
    text
}

/// `commits were held for 18 ms; longest wait 3 ms (BACKUP STAGE FLUSH)`
pub fn locks(commits_held: Option<f64>, locks: &[LockTimes]) -> String {
    let mut text = match commits_held {
        Some(seconds) => format!("commits were held for {}", Time::seconds(seconds)),
        None => "commits were not held".to_owned(),
    };
    let longest = locks.iter().max_by(|a, b| a.waited.total_cmp(&b.waited));
    if let Some(longest) = longest {
        let _ = write!(text, "; longest wait {} ({})", Time::seconds(longest.waited), longest.lock);
    }
    text
}

/// `longest held 18 ms (FLUSH TABLES WITH READ LOCK), longest wait 3 ms (BACKUP STAGE FLUSH)`
pub fn locks_of_source(locks: &[LockTimes]) -> String {
    let longest = |of: fn(&LockTimes) -> f64| locks.iter().max_by(|a, b| of(a).total_cmp(&of(b)));
    match (longest(|lock| lock.held), longest(|lock| lock.waited)) {
        (Some(held), Some(waited)) => format!(
            "at the source; longest held {} ({}), longest wait {} ({})",
            Time::seconds(held.held),
            held.lock,
            Time::seconds(waited.waited),
            waited.lock
        ),
        _ => "none at the source".to_owned(),
    }
}

/// Where the backup stands in the binary log and in GTIDs, and where it stood as a replica.
pub fn coordinates(coordinates: &Coordinates, flavour: Flavour) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(binlog) = &coordinates.binlog {
        parts.push(position(binlog));
    }
    if !coordinates.gtid.is_empty() {
        parts.push(format!("GTID {}", one_line(&coordinates.gtid)));
    }
    if parts.is_empty() {
        parts.push("none: the server writes no binary log".to_owned());
    }
    let mut lines = vec![line("coordinates", parts.join(", "))];
    if flavour == Flavour::MariaDb && !coordinates.gtid_slave.is_empty() {
        lines.push(line("", format_args!("gtid_slave_pos {}", coordinates.gtid_slave)));
    }
    lines.extend(coordinates.channels.iter().map(|channel| line("replica of", replica(channel))));
    lines
}

fn replica(channel: &ReplicaChannel) -> String {
    let mut text = format!("{}:{}", channel.source_host, channel.source_port);
    if !channel.name.is_empty() {
        let _ = write!(text, " (channel {})", channel.name);
    }
    if let Some(applied) = &channel.applied {
        let _ = write!(text, ", applied to {}", position(applied));
    }
    if channel.by_gtid {
        text.push_str(", by GTID");
    }
    if channel.delay.0 > 0 {
        let _ = write!(text, ", delayed by {} s", channel.delay.0);
    }
    text
}

fn position(at: &BinlogPosition) -> String {
    format!("{} position {}", at.file, at.position)
}

/// A long GTID set comes with line ends in it.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_told_by_what_they_cost() {
        let times = |lock: &str, waited| LockTimes { lock: lock.to_owned(), waited, held: 1.0 };
        let all = [times("BACKUP STAGE START", 0.001), times("BACKUP STAGE FLUSH", 0.25)];
        assert_eq!(
            locks(Some(0.018), &all),
            "commits were held for 18 ms; longest wait 250 ms (BACKUP STAGE FLUSH)"
        );
        assert_eq!(locks(None, &[]), "commits were not held");
        assert_eq!(
            locks_of_source(&all),
            "at the source; longest held 1.0 s (BACKUP STAGE FLUSH), longest wait 250 ms (BACKUP STAGE FLUSH)"
        );
        assert_eq!(locks_of_source(&[]), "none at the source");
    }

    #[test]
    fn coordinates_of_a_replica() {
        let at = |file: &str, position| Some(BinlogPosition { file: file.to_owned(), position });
        let channel = ReplicaChannel {
            name: "eu".to_owned(),
            source_host: "10.0.0.5".to_owned(),
            source_port: 3306,
            applied: at("bin.000007", 4711),
            by_gtid: true,
            ..ReplicaChannel::default()
        };
        let all = Coordinates {
            binlog: at("own.000001", 328),
            gtid: "uuid:1-5,\nother:1-9".to_owned(),
            channels: vec![channel],
            ..Coordinates::default()
        };
        insta::assert_snapshot!(coordinates(&all, Flavour::MySql).join("\n"), @r"
        coordinates  own.000001 position 328, GTID uuid:1-5, other:1-9
        replica of   10.0.0.5:3306 (channel eu), applied to bin.000007 position 4711, by GTID
        ");
        let none = coordinates(&Coordinates::default(), Flavour::MySql);
        assert_eq!(none, ["coordinates  none: the server writes no binary log"]);
    }

    #[test]
    fn short_steps_are_left_out() {
        let steps = [("look", 0.2), ("copy", 120.0), ("publish", 3.0)];
        assert_eq!(how_long(123.2, steps.into_iter()), "2 min 03 s (copy 2 min 00 s, publish 3.0 s)");
        assert_eq!(how_long(0.04, [("look", 0.04)].into_iter()), "40 ms");
    }
}
