//! The program as it meets a person: help, version, usage errors, what a failure looks like, what goes to which stream.

use std::process::Command;

fn reseed() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reseed"));
    // Neither this machine's option files nor its terminal may have a say.
    command.env_clear().env("HOME", "/nonexistent").env("COLUMNS", "100").env("RESEED_CONFIG", "/dev/null");
    command
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(args: &[&str]) -> Ran {
    // A program that cannot be started has the code -1, which no test expects.
    let Ok(output) = reseed().args(args).output() else {
        return Ran { code: -1, stdout: String::new(), stderr: String::new() };
    };
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn help_of_every_command() {
    let top = run(&["--help"]);
    assert_eq!(top.code, 0);
    assert_eq!(top.stderr, "");
    insta::assert_snapshot!("help", top.stdout);
    for command in [
        "setup",
        "backup",
        "restore",
        "clone",
        "hand-over",
        "attach",
        "list",
        "show",
        "verify",
        "export",
        "pin",
        "unpin",
        "expire",
        "check",
        "config",
        "completions",
        "man",
    ] {
        let help = run(&[command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
        insta::assert_snapshot!(format!("help-{command}"), help.stdout);
    }
}

#[test]
fn nothing_typed_shows_the_help_as_a_usage_error() {
    let nothing = run(&[]);
    assert_eq!(nothing.code, 2);
    assert_eq!(nothing.stdout, "");
    assert!(nothing.stderr.contains("Usage: reseed"));
}

#[test]
fn wrong_options_are_usage_errors() {
    for args in [
        &["backup"][..],
        &["no-such-command"],
        &["backup", "--repo", "/r", "--name", "../x"],
        &["backup", "--repo", "/r", "--name", "x", "--compress", "zstd:99"],
        &["backup", "--repo", "/r", "--name", "x", "--rate", "fast"],
        &["backup", "--repo", "/r", "--name", "x", "--lock-wait", "soon"],
        &["backup", "--repo", "/r", "--name", "x", "--password", "secret"],
        &["backup", "--repo", "/r", "--name", "x", "--kill-blockers", "all"],
        &["restore", "--repo", "/r", "--name", "x", "newest", "--datadir", "/d"],
        &["restore", "--repo", "/r", "--name", "x", "latest"],
        &["restore", "--repo", "/r", "--name", "x", "latest", "--datadir", "/d", "--map", "a=b"],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(ran.stderr.starts_with("error: "), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_server_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    let repo_text = repo.to_str().unwrap();
    let ran = run(&[
        "backup",
        "--repo",
        repo_text,
        "--name",
        "db1",
        "--no-defaults",
        "--socket",
        "/nonexistent/s.sock",
    ]);
    assert_eq!(ran.code, 3);
    assert_eq!(ran.stdout, "");
    insta::assert_snapshot!("error-connect", ran.stderr);
    assert!(!repo.exists(), "a repository was made for nothing");
}

#[test]
fn a_failure_is_json_too_where_json_was_asked_for() {
    let ran = run(&["list", "--repo", "/nonexistent/repo", "--json"]);
    assert_eq!(ran.code, 10);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["error"]["exit_code"], 10);
    insta::assert_snapshot!("error-json", ran.stdout);
    insta::assert_snapshot!("error-no-repository", ran.stderr);
}

#[test]
fn password_files_that_others_may_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pw");
    let with_mode = |mode: u32, text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let file = file.to_str().unwrap();
        run(&[
            "backup",
            "--repo",
            "/nonexistent/r",
            "--name",
            "x",
            "--no-defaults",
            "--socket",
            "/nonexistent/s.sock",
            "--password-file",
            file,
        ])
    };
    let open = with_mode(0o644, "hunter2\n");
    assert_eq!(open.code, 2);
    assert!(
        open.stderr.contains("is open to everybody") && !open.stderr.contains("hunter2"),
        "{}",
        open.stderr
    );
    assert_eq!(with_mode(0o600, "\n").code, 2);
    let closed = with_mode(0o600, "hunter2\n");
    assert_eq!(closed.code, 3, "{}", closed.stderr);
}

/// A pipe that nobody reads any more: the first byte that is written meets an error.
fn closed_pipe() -> std::io::Result<std::io::PipeWriter> {
    std::io::pipe().map(|(_, writer)| writer)
}

/// As in `reseed list | head -0`: never a panic, never a message.
#[test]
fn a_closed_pipe_ends_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().to_str().unwrap();
    for (args, code) in [
        (&["list", "--repo", repo][..], 0),
        (&["list", "--repo", repo, "--json"], 0),
        (&["list", "--repo", "/nonexistent/repo", "--json"], 10),
        (&["config", "show"], 0),
        (&["reference", "options"], 0),
        (&["completions", "bash"], 0),
        (&["man", "backup"], 0),
        (&["--help"], 0),
        (&["backup", "--help"], 0),
        (&["--version"], 0),
    ] {
        let output = reseed().args(args).stdout(closed_pipe().unwrap()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.is_empty() || (code == 10 && stderr.starts_with("error: there is no")), "{stderr}");
        // Messages that nobody reads change nothing either.
        let output = reseed()
            .args(args)
            .stdout(closed_pipe().unwrap())
            .stderr(closed_pipe().unwrap())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
    let wrong = reseed().arg("no-such").stderr(closed_pipe().unwrap()).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// A result that was not written is none: a script must not take half of it for all.
#[test]
fn an_output_that_is_full_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().to_str().unwrap();
    for args in
        [&["list", "--repo", repo][..], &["config", "show", "--json"], &["man"], &["--help"], &["--version"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = reseed().args(args).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space left"), "{args:?}: {stderr}");
    }
}

/// Whatever the locale of a terminal is, it can show what the program has to say.
#[test]
fn the_program_speaks_ascii() {
    let mut texts = vec![run(&["--help"]).stdout, run(&["completions", "zsh"]).stdout, run(&["man"]).stdout];
    for page in ["options", "exit-codes", "config", "keys"] {
        texts.push(run(&["reference", page]).stdout);
    }
    for text in texts {
        assert!(text.len() > 200 && text.is_ascii(), "{text}");
    }
}

#[test]
fn man_pages_of_all_commands() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(&["man", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 19, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.is_ascii(), "{name}");
        // The reference has a snapshot of its own for what is in this page.
        if name != "reseed.toml.5" {
            let version = concat!("reseed ", env!("CARGO_PKG_VERSION"));
            insta::assert_snapshot!(format!("man-{name}"), text.replace(version, "reseed VERSION"));
        }
    }
    assert_eq!(run(&["man", "no-such"]).code, 2);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, 0);
        assert!(script.stdout.contains("hand-over"), "{shell}");
    }
}
