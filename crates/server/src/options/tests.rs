use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

pub(super) fn files(text: &str) -> OptionFiles {
    let mut files = OptionFiles::default();
    files.read_text(Path::new("/x/my.cnf"), text, 0).unwrap();
    files
}

fn value(text: &str, name: &str) -> Option<String> {
    files(text).last(&["client"], name).and_then(|entry| entry.value.clone())
}

#[test]
fn values_as_the_clients_read_them() {
    let cases = [
        ("a=b", "b"),
        ("a = b ", "b"),
        ("a='b c'", "b c"),
        ("a=\"it's\"", "it's"),
        ("a=b # comment", "b"),
        ("a=b;c", "b;c"),
        ("a='b#c' # d", "b#c"),
        ("a=\"x\\\"#y\" # z", "x\"#y"),
        ("a=\\s\\t\\n\\\\\\q", " \t\n\\\\q"),
        ("a='", "'"),
        ("a=", ""),
        ("a='unlike\"", "'unlike\""),
        ("a=x=y", "x=y"),
        ("loose_a=1", "1"),
        ("a=tail\\", "tail\\"),
    ];
    for (line, expected) in cases {
        let text = format!("[client]\n{line}\r\n");
        assert_eq!(value(&text, "a").as_deref(), Some(expected), "{line}");
    }
}

#[test]
fn names_with_dash_and_underscore_are_one_and_the_last_wins() {
    let text = "; c\n# c\n[client]\nconnect_timeout=1\n[other]\nconnect-timeout=9\n[client ] trailing\nconnect-timeout=2\n";
    assert_eq!(value(text, "connect_timeout").as_deref(), Some("2"));
    assert_eq!(files("[client]\npassword\n").last(&["client"], "password").unwrap().value, None);
}

#[test]
fn groups_with_the_suffix_count_too() {
    let mut two = OptionFiles::read(
        &DefaultsChoice { none: true, group_suffix: Some("_eu".to_owned()), ..DefaultsChoice::default() },
        &Environment::default(),
    )
    .unwrap();
    two.read_text(Path::new("f"), "[client]\nuser=a\n[client_eu]\nuser=b\n[client_us]\nuser=c\n", 0).unwrap();
    assert_eq!(two.last(&["client"], "user").unwrap().value.as_deref(), Some("b"));
}

#[test]
fn malformed_files_are_refused_by_line_and_unknown_directives_told() {
    let error = |text: &str| {
        OptionFiles::default().read_text(Path::new("/f"), text, 0).map(drop).unwrap_err().to_string()
    };
    insta::assert_snapshot!(error("\nuser=a"), @"/f line 2: this option stands before any [group]");
    insta::assert_snapshot!(error("[client"), @"/f line 1: the [group] is not closed");
    let mut files = OptionFiles::default();
    files.read_text(Path::new("/f"), "!exclude x\n!include /nonexistent/x.cnf\n[client]\nuser=a", 0).unwrap();
    assert_eq!(files.warnings().len(), 2, "{:?}", files.warnings());
    assert!(files.last(&["client"], "user").is_some());
}

#[test]
fn files_includes_directories_and_modes() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    write("conf.d/b.cnf", "[client]\nuser=b\n", 0o644);
    write("conf.d/a.cnf", "[client]\nuser=a\npassword=p\n", 0o644);
    write("conf.d/c.cnf.bak", "[client]\nuser=c\n", 0o644);
    write("conf.d/w.cnf", "[client]\nuser=w\n", 0o666);
    let own = write(
        "own.cnf",
        &format!("!include {}\n[client]\nport=1\n", dir.path().join("self.cnf").display()),
        0o600,
    );
    write("self.cnf", &format!("!include {}\n", dir.path().join("self.cnf").display()), 0o600);
    let main = write(
        "main.cnf",
        &format!("[client]\nuser=m\n!includedir {}\nport=7\n", dir.path().join("conf.d").display()),
        0o600,
    );
    let read = |file: PathBuf| {
        OptionFiles::read(
            &DefaultsChoice { file: Some(file), ..DefaultsChoice::default() },
            &Environment::default(),
        )
    };
    let files = read(main).unwrap();
    assert_eq!(files.last(&["client"], "user").unwrap().value.as_deref(), Some("b"));
    assert_eq!(files.last(&["client"], "port").unwrap().value.as_deref(), Some("7"));
    assert_eq!(files.warnings().len(), 2, "{:?}", files.warnings());
    let endless = read(own).unwrap();
    assert!(endless.warnings()[0].contains("nests too deep"));
    assert_eq!(endless.last(&["client"], "port").unwrap().value.as_deref(), Some("1"));
    assert!(matches!(read(dir.path().join("none.cnf")), Err(OptionsError::Read { .. })));
    let open = write("open.cnf", "[client]\npassword=p\n", 0o644);
    assert!(matches!(read(open), Err(OptionsError::OpenPassword { .. })));
    assert!(read(write("closed.cnf", "[client]\npassword=p\n", 0o640)).is_ok());
}

fn resolve(
    args: &ConnectArgs,
    text: &str,
    environment: &Environment,
) -> Result<ConnectOptions, OptionsError> {
    ConnectOptions::resolve_with(args, &files(text), environment, &|path| {
        path == Path::new("/tmp/mysql.sock")
    })
}

#[test]
fn where_to_connect() {
    let none = Environment::default();
    let typed = |host: Option<&str>, port: Option<u16>| ConnectArgs {
        host: host.map(str::to_owned),
        port,
        ..ConnectArgs::default()
    };
    let target = |args: &ConnectArgs, text: &str| resolve(args, text, &none).unwrap().target;
    let tcp = |host: &str, port| Target::Tcp { host: host.to_owned(), port };
    let socket = |path: &str| Target::Socket(PathBuf::from(path));

    assert_eq!(target(&typed(None, None), ""), socket("/tmp/mysql.sock"));
    assert_eq!(target(&typed(Some("localhost"), Some(3307)), ""), socket("/tmp/mysql.sock"));
    assert_eq!(target(&typed(None, Some(3307)), ""), tcp("127.0.0.1", 3307));
    assert_eq!(target(&typed(Some("db1"), None), "[client]\nport=3308"), tcp("db1", 3308));
    assert_eq!(target(&typed(None, None), "[client]\nsocket=/s\nport=3308"), socket("/s"));
    assert_eq!(target(&typed(None, None), "[client]\nprotocol=TCP\nport=3308"), tcp("127.0.0.1", 3308));
    assert_eq!(target(&typed(None, None), "[client]\nhost=a\n[reseed]\nhost=b"), tcp("b", 3306));
}

#[test]
fn who_connects() {
    let environment = Environment {
        login: Some("ann".into()),
        password: Some(Password::new("env")),
        ..Environment::default()
    };
    let options = |text: &str| resolve(&ConnectArgs::default(), text, &environment).unwrap();
    let plain = options("");
    assert_eq!(plain.user, "ann");
    assert_eq!(plain.password.unwrap().reveal(), "env");
    let file = options("[client]\nuser=bob\npassword=\"s;#c\"\n");
    assert_eq!((file.user.as_str(), file.password.as_ref().unwrap().reveal()), ("bob", "s;#c"));
    assert!(!format!("{file:?}").contains("s;#c"));
    assert!(!format!("{:?}", files("[client]\npassword=geheim\n")).contains("geheim"));
    assert!(options("[client]\npassword\n").ask_password);
}

#[test]
fn bad_values_are_refused_with_their_place() {
    let error = resolve(&ConnectArgs::default(), "[client]\nport=many", &Environment::default()).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r#""many" is no value for port (port in /x/my.cnf line 2)"#);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,400}") {
        let _ = OptionFiles::default().read_text(Path::new("/f"), &text.replace('!', "?"), 0);
    }

    /// What is written by the rules comes back as it was.
    #[test]
    fn quoted_values_survive(text in "[^\0]{0,40}", quote in prop_oneof![Just('"'), Just('\'')]) {
        let mut escaped = String::new();
        for c in text.chars() {
            match c {
                '\\' => escaped.push_str("\\\\"),
                '\n' => escaped.push_str("\\n"),
                '"' | '\'' => { escaped.push('\\'); escaped.push(c); }
                c => escaped.push(c),
            }
        }
        let line = format!("[client]\npassword={quote}{escaped}{quote} # end\n");
        prop_assert_eq!(value(&line, "password"), Some(text));
    }
}
