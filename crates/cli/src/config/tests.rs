use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use clap::Parser;

fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
    ConfigFile::parse(&root(), Path::new("/etc/reseed/reseed.toml"), text)
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The command line that comes of a file and of what was typed.
fn completed(text: &str, typed: &str) -> String {
    let completed = try_completed(text, typed).unwrap();
    let parsed = Cli::try_parse_from(completed.replace("CONFIG", "--config=/x").split(' '));
    assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
    completed
}

fn try_completed(text: &str, typed: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reseed.toml");
    std::fs::write(&file, text).unwrap();
    let config = format!("--config={}", file.display());
    let words = typed.split(' ').map(|word| OsString::from(if word == "CONFIG" { &config } else { word }));
    let in_short =
        |text: String| text.replace(&config, "CONFIG").replace(&file.display().to_string(), "FILE");
    let completed = complete(words.collect()).map_err(|error| in_short(error.to_string()))?;
    let words: Vec<String> = completed.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    Ok(in_short(words.join(" ")))
}

const FILE: &str = "\
repo = \"/backup\"
threads = 2
[backup]
rate = \"100M\"
[verify]
threads = 8
[server.db1]
socket = \"/run/db1.sock\"
keep-hourly = 24
[server.db1.backup]
threads = 3
no-read-back = true
";

#[test]
fn the_closest_section_counts_and_what_is_typed_counts_more() {
    assert_eq!(
        completed(FILE, "reseed CONFIG backup --name db1"),
        "reseed CONFIG backup --repo=/backup --threads=3 --rate=100M --no-read-back --socket=/run/db1.sock --name db1"
    );
    assert_eq!(
        completed(FILE, "reseed backup CONFIG --name other --threads 9"),
        "reseed backup --repo=/backup --rate=100M CONFIG --name other --threads 9"
    );
    assert_eq!(
        completed(FILE, "reseed CONFIG verify --name db1 latest"),
        "reseed CONFIG verify --repo=/backup --threads=8 --name db1 latest"
    );
    assert_eq!(
        completed(FILE, "reseed --log-level warn expire --name db1 CONFIG"),
        "reseed --log-level warn expire --repo=/backup --keep-hourly=24 --name db1 CONFIG"
    );
    assert_eq!(completed(FILE, "reseed list CONFIG"), "reseed list --repo=/backup CONFIG");
}

#[test]
fn what_does_not_go_together_with_what_is_typed_is_left_aside() {
    let streamed = completed(FILE, "reseed backup CONFIG --to - --name db1");
    assert!(!streamed.contains("--repo"), "{streamed}");
    let file = "repo = \"/backup\"\ndefaults-file = \"/etc/reseed/db1.cnf\"\n";
    let without = completed(file, "reseed backup CONFIG --name db1 --no-defaults");
    assert!(!without.contains("--defaults-file"), "{without}");
    let from = completed(FILE, "reseed restore CONFIG --from - --datadir /d");
    assert!(!from.contains("--repo"), "{from}");
}

#[test]
fn a_path_may_hold_the_servers_name() {
    let file = "defaults-file = \"/etc/reseed/{name}.cnf\"\nrepo = \"/backup\"\n";
    let named = completed(file, "reseed backup CONFIG --name db7");
    assert!(named.contains("--defaults-file=/etc/reseed/db7.cnf"), "{named}");
    assert_eq!(
        completed(file, "reseed check CONFIG --server"),
        "reseed check --repo=/backup CONFIG --server"
    );
}

const REPOSITORIES: &str = "\
repo = \"local\"
compress = \"zstd:1\"
keep-hourly = 24
[backup]
compress = \"zstd:2\"
rate = \"1M\"
[repository.local]
path = \"/backup\"
[repository.nas]
path = \"/mnt/nas/{name}\"
compress = \"zstd:3\"
keep-daily = 14
threads = 2
[repository.nas.backup]
threads = 3
[server.db1]
repo = \"nas\"
[server.db2]
repo = \"nas\"
keep-daily = 7
[server.db2.backup]
compress = \"zstd:5\"
threads = 1
";

#[test]
fn a_repository_has_a_name_and_what_counts_for_every_server_in_it() {
    let of = |typed: &str| completed(REPOSITORIES, typed);
    assert_eq!(
        of("reseed backup CONFIG --name db1"),
        "reseed backup --repo=/mnt/nas/db1 --threads=3 --rate=1M --compress=zstd:3 CONFIG --name db1"
    );
    assert_eq!(
        of("reseed backup CONFIG --name db2"),
        "reseed backup --repo=/mnt/nas/db2 --threads=1 --rate=1M --compress=zstd:5 CONFIG --name db2"
    );
    assert_eq!(
        of("reseed verify CONFIG --name db1 latest"),
        "reseed verify --repo=/mnt/nas/db1 --threads=2 CONFIG --name db1 latest"
    );
    assert_eq!(
        of("reseed expire CONFIG --name db2"),
        "reseed expire --repo=/mnt/nas/db2 --keep-hourly=24 --keep-daily=7 CONFIG --name db2"
    );
    assert_eq!(
        of("reseed backup CONFIG --name other"),
        "reseed backup --repo=/backup --rate=1M --compress=zstd:2 CONFIG --name other"
    );
    // Left aside, as what is typed wants none: so is all that is said about it.
    assert_eq!(
        of("reseed backup CONFIG --name db1 --to -"),
        "reseed backup --rate=1M --compress=zstd:2 CONFIG --name db1 --to -"
    );
}

#[test]
fn a_repository_that_is_typed_may_be_a_name() {
    let of = |typed: &str| completed(REPOSITORIES, typed);
    for repo in ["--repo nas", "--repo=nas", "--repo /mnt/nas/db3", "--repo=/mnt//nas/./db3/"] {
        let expired = of(&format!("reseed expire CONFIG --name db3 {repo} --dry-run"));
        let dir = if repo.ends_with("nas") { repo.replace("nas", "/mnt/nas/db3") } else { repo.to_owned() };
        assert_eq!(
            expired,
            format!("reseed expire --keep-hourly=24 --keep-daily=14 CONFIG --name db3 {dir} --dry-run")
        );
    }
    // Another one than the server's own.
    assert_eq!(
        of("reseed expire CONFIG --name db2 --repo local"),
        "reseed expire --keep-hourly=24 --keep-daily=7 CONFIG --name db2 --repo /backup"
    );
    assert_eq!(of("reseed list --repo local CONFIG"), "reseed list --repo /backup CONFIG");
    assert_eq!(
        of("reseed setup CONFIG --name db3 --repo nas"),
        "reseed setup CONFIG --name db3 --repo /mnt/nas/db3"
    );
    for directory in ["./local", "local/", ".", "..", "/local"] {
        let list = format!("reseed list CONFIG --repo {directory}");
        assert_eq!(of(&list), list);
    }
    // Without names in the file, and without a file, it is a directory, as ever.
    let list = "reseed list CONFIG --repo local";
    assert_eq!(completed("threads = 2", list), list);
    let setup = "reseed setup --config /nonexistent/reseed.toml --name db1 --repo local";
    assert_eq!(completed("", setup), setup);
}

#[test]
fn a_repository_that_is_typed_and_not_known_is_refused() {
    let refused = |typed: &str| try_completed(REPOSITORIES, typed).unwrap_err();
    assert_eq!(
        refused("reseed backup CONFIG --name db1 --repo loacl"),
        "--repo loacl: FILE has no [repository.loacl]; did you mean \"local\"?"
    );
    assert_eq!(refused("reseed list CONFIG --repo=x"), "--repo x: FILE has no [repository.x]");
    assert_eq!(
        refused("reseed list CONFIG --repo nas"),
        "--repo nas: its directory \"/mnt/nas/{name}\" is another one for each server"
    );
}

#[test]
fn what_is_in_force_says_which_repository_it_comes_from() {
    let root = root();
    let file = parse(REPOSITORIES).unwrap();
    let all = effective(&root, Some(&file), Some("db2"));
    let shown: Vec<String> = ["repo", "compress", "threads", "keep-hourly", "keep-daily"]
        .iter()
        .flat_map(|key| all.iter().filter(move |value| value.key == *key))
        .map(|value| {
            let command = value.command.as_deref().unwrap_or("all");
            let source = value.source.describe(file.path());
            format!("{} ({command}) {} {source}", value.key, value.value.as_deref().unwrap_or("-"))
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_server_that_is_attached_is_never_the_one_of_the_section() {
    let line = completed(FILE, "reseed attach CONFIG --name db1 latest");
    assert!(!line.contains("db1.sock"), "{line}");
}

#[test]
fn what_no_option_takes_is_refused_with_its_place() {
    let texts = [
        "repoo = \"/backup\"",
        "\n\n[server.db1]\nthread = 1",
        "[expire]\nthreads = 1",
        "[backupp]\nthreads = 1",
        "[server.db1.verifi]\nthreads = 1",
        "datadir = \"/var/lib/mysql\"",
        "[server.db1]\npassword = \"hunter2\"",
        "[server.\"../x\"]\nthreads = 1",
        "server = 1",
        "threads = \"many\"",
        "threads = 0",
        "rate = [\"1M\"]",
        "no-read-back = \"yes\"",
        "repo = \"backup\"",
        "lock = \"gentle\"",
        "repo = \"/a\"\nrepo = \"/b\"",
        "repo = \"/a",
        "[repository.nas]\npath = \"/mnt/nas\"\n[server.db1]\nrepo = \"nsa\"",
        "repo = \"mnt/nas\"",
        "[repository.nas]\nkeep-daily = 7",
        "[repository.nas]\npath = \"nas\"",
        "[repository.nas]\npath = 1",
        "repository = \"/backup\"",
        "[repositories.nas]\npath = \"/mnt/nas\"",
        "[repository.\"a/b\"]\npath = \"/mnt/nas\"",
        "[repository.nas]\npath = \"/mnt/nas\"\nrepo = \"/backup\"",
        "[repository.nas]\npath = \"/mnt/nas\"\nsocket = \"/run/db1.sock\"",
        "[repository.nas]\npath = \"/mnt/nas\"\ncompres = \"zstd:9\"",
        "[repository.nas]\npath = \"/mnt/nas\"\n[repository.nas.bakup]\nthreads = 1",
        "[repository.nas]\npath = \"/mnt/nas\"\n[repository.nas.expire]\npath = \"/mnt/nas\"",
        "[repository.a]\npath = \"/mnt/nas\"\n[repository.b]\npath = \"/mnt/nas/\"",
    ];
    let errors: Vec<String> = texts.iter().map(|text| error(text)).collect();
    assert!(errors.iter().all(|error| !error.contains("hunter2")));
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_file_that_others_may_have_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reseed.toml");
    std::fs::write(&file, "repo = \"/backup\"\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let root = root();
    assert!(matches!(ConfigFile::read(&root, &file), Err(ConfigError::Open { .. })));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(ConfigFile::read(&root, &file).is_ok());
    assert!(matches!(ConfigFile::read(&root, &dir.path().join("none")), Err(ConfigError::Read { .. })));
}

#[test]
fn every_exception_is_an_option_and_has_a_reason() {
    let root = root();
    for (name, why) in definitions::COMMAND_LINE_ONLY {
        let known = definitions::commands(&root)
            .flat_map(Command::get_arguments)
            .any(|argument| argument.get_long() == Some(name));
        assert!(known && !why.is_empty(), "{name}");
    }
}

#[test]
fn every_key_of_the_example_is_understood() {
    let root = root();
    let text = example(&root);
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let file = parse(&uncommented).unwrap();
    assert!(parse(&text).is_ok());
    assert_eq!(file.servers().collect::<Vec<_>>(), ["db1"]);
    assert_eq!(
        file.repositories().iter().map(|known| known.name.as_str()).collect::<Vec<_>>(),
        ["nas", "local"]
    );
    for command in definitions::commands(&root) {
        for option in definitions::options(command) {
            let key = option.get_long().unwrap();
            assert!(file.find(command.get_name(), None, None, key).is_some(), "the example lacks {key}");
        }
    }
}

#[test]
fn what_is_in_force_says_where_it_comes_from() {
    let root = root();
    let file = parse(FILE).unwrap();
    let all = effective(&root, Some(&file), Some("db1"));
    let of = |key: &str, command: Option<&str>| {
        let found = all.iter().find(|value| value.key == key && value.command.as_deref() == command);
        found.map(|found| (found.value.clone().unwrap_or_default(), found.source.describe(file.path())))
    };
    let place = "/etc/reseed/reseed.toml line";
    assert_eq!(of("repo", None), Some(("/backup".into(), format!("{place} 1 (top)"))));
    assert_eq!(
        of("threads", Some("backup")),
        Some(("3".into(), format!("{place} 11 ([server.db1.backup])")))
    );
    assert_eq!(of("threads", Some("verify")), Some(("8".into(), format!("{place} 6 ([verify])"))));
    assert_eq!(of("lock-wait", None), Some(("60s".into(), "default".into())));
    assert_eq!(of("keep-hourly", None), Some(("24".into(), format!("{place} 9 ([server.db1])"))));
}
