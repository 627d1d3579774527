//! Which warnings of a server are expected, each with its reason. All others fail a test.

/// A line that contains the text is expected.
const EXPECTED: &[(&str, &str)] = &[
    ("root@localhost is created with an empty password", "the kit's servers are reached by socket only"),
    ("CA certificate ca.pem is self signed", "made by the server itself at its first start"),
    ("CA certificate is self signed", "made by the server itself at its first start"),
    ("Insecure configuration for --pid-file", "the scratch folder is only ours"),
    ("--secure-file-priv", "empty on purpose"),
    ("insecure since", "the kit's option files and folders lie in a scratch folder"),
    ("ignored in --skip-name-resolve mode", "the kit resolves no names"),
    ("Page compression errors", "MariaDB's count of pages that did not compress, told at shutdown"),
    ("Combining the storage engines", "MySQL's advice; each statement of the load writes one engine"),
    ("prepared XA transactions", "the load leaves some prepared, and a restored server must say so"),
    ("innodb-page-size has been changed from the default", "the test's choice"),
    (
        "Could not purge binary logs since another session",
        "a backup rotates the binary log under its lock; purging waits",
    ),
    ("Trying to access missing tablespace", "a tablespace is dropped while information_schema lists it"),
    (
        "'log_checkpointer' consumer still lagging behind",
        "a log filled by the load: the server awaits its own checkpoint",
    ),
    ("No existing UUID has been found", "a new server, or a copy of one, gets an identity of its own"),
    ("You need to use --log-bin to make --binlog-format work", "the option is given to all servers alike"),
    ("Neither --relay-log nor --relay-log-index were used", "relay logs are named after the server"),
    ("Storing MySQL user name or password information", "a test's password is no secret"),
    ("If a crash happens this configuration does not guarantee", "replica settings are the default's"),
    ("'super_read_only'", "not set in tests"),
    ("io_uring", "the kernel of a test machine may forbid it"),
    ("liburing", "the kernel of a test machine may forbid it"),
    ("Could not increase number of max_open_files", "the test machine's limit"),
    ("Changed limits: max_open_files", "the test machine's limit"),
    ("Buffered warning: Changed limits", "the test machine's limit"),
    ("Buffered warning: Could not increase", "the test machine's limit"),
];

/// The lines of an error log that are warnings or errors and not expected.
pub fn unexpected(log: &str) -> Vec<String> {
    log.lines()
        .filter(|line| is_complaint(line))
        .filter(|line| !is_expected(line))
        .map(str::to_owned)
        .collect()
}

fn is_complaint(line: &str) -> bool {
    ["[Warning]", "[ERROR]", "[Error]", "Assertion failure", "got signal"]
        .iter()
        .any(|mark| line.contains(mark))
}

fn is_expected(line: &str) -> bool {
    EXPECTED.iter().any(|(text, _)| line.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_pass_and_unknown_warnings_do_not() {
        let log = "0 [Note] InnoDB: started\n0 [Warning] InnoDB: bad page\n0 [ERROR] mysqld got signal 6\n\
                   0 [Warning] CA certificate ca.pem is self signed.\n";
        assert_eq!(unexpected(log), ["0 [Warning] InnoDB: bad page", "0 [ERROR] mysqld got signal 6"]);
    }
}
