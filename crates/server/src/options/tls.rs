//! How a connection is encrypted: the words that the clients of both families have for it.

use std::path::PathBuf;

use super::{CONNECTION_GROUPS, ConnectArgs, OptionFiles, OptionsError};

/// How far an encrypted connection is asked for. A Unix socket is never encrypted, and never refused for that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    Disabled,
    /// Encrypted where the server can, open where it cannot. The server's certificate is not looked at.
    #[default]
    Preferred,
    /// Encrypted or not at all. The server's certificate is not looked at.
    Required,
    /// The server's certificate must be signed by a known authority. The clients leave it at that; here it must be for
    /// the host as well, since rustls looks at both or at neither.
    VerifyCa,
    /// The server's certificate must be signed by a known authority and be for the host that was asked for.
    VerifyIdentity,
}

impl TlsMode {
    pub const ALL: [TlsMode; 5] = [
        TlsMode::Disabled,
        TlsMode::Preferred,
        TlsMode::Required,
        TlsMode::VerifyCa,
        TlsMode::VerifyIdentity,
    ];

    /// As `ssl-mode` has it, in small letters.
    pub const fn name(self) -> &'static str {
        match self {
            TlsMode::Disabled => "disabled",
            TlsMode::Preferred => "preferred",
            TlsMode::Required => "required",
            TlsMode::VerifyCa => "verify_ca",
            TlsMode::VerifyIdentity => "verify_identity",
        }
    }

    /// From a value of `ssl-mode`, in any case.
    pub fn parse(word: &str) -> Option<TlsMode> {
        TlsMode::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(word))
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    /// Certificates of authorities, PEM. Without it the well-known public ones count.
    pub authorities: Option<PathBuf>,
    /// Who asked for the mode, where an error may have to say so.
    pub asked_by: Option<String>,
}

impl Tls {
    pub fn mode(mode: TlsMode) -> Tls {
        Tls { mode, ..Tls::default() }
    }

    /// What was typed, else what the files say. As with the clients, authorities that are named are to be used: without
    /// a mode they mean `VERIFY_CA`.
    ///
    /// # Errors
    /// When `ssl-mode` has a value that is none.
    pub(super) fn resolve(args: &ConnectArgs, files: &OptionFiles) -> Result<Tls, OptionsError> {
        let mut mode = None;
        let mut authorities = None;
        for entry in files.in_groups(CONNECTION_GROUPS) {
            let value = entry.value.as_deref().unwrap_or("1");
            let on = !matches!(value.to_ascii_uppercase().as_str(), "0" | "OFF" | "FALSE");
            let asked = |mode: TlsMode| Some((mode, entry.place()));
            match entry.name.as_str() {
                "ssl-mode" => {
                    let known = TlsMode::parse(value).ok_or_else(|| OptionsError::Value {
                        option: "ssl-mode".to_owned(),
                        value: value.to_owned(),
                        place: entry.place(),
                    })?;
                    mode = asked(known);
                }
                "ssl-ca" => {
                    authorities = entry.value.clone().filter(|path| !path.is_empty()).map(PathBuf::from)
                }
                "ssl" if on => mode = asked(TlsMode::Required).max(mode),
                "ssl-verify-server-cert" if on => mode = asked(TlsMode::VerifyIdentity),
                "ssl" | "skip-ssl" | "disable-ssl" => mode = asked(TlsMode::Disabled),
                _ => {}
            }
        }
        if let Some(typed) = args.tls_mode {
            mode = Some((typed, "the command line".to_owned()));
        }
        let authorities = args.tls_authorities.clone().or(authorities);
        let implied = if authorities.is_some() { TlsMode::VerifyCa } else { TlsMode::default() };
        let (mode, asked_by) = match mode {
            Some((mode, place)) => (mode, Some(place)),
            None => (implied, None),
        };
        Ok(Tls { mode, authorities, asked_by })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::files;
    use super::*;

    fn tls(args: &ConnectArgs, text: &str) -> Tls {
        Tls::resolve(args, &files(text)).unwrap()
    }

    #[test]
    fn the_clients_words_are_understood() {
        let mode = |text: &str| tls(&ConnectArgs::default(), text).mode;
        assert_eq!(mode(""), TlsMode::Preferred);
        assert_eq!(mode("[client]\nssl_mode=required"), TlsMode::Required);
        assert_eq!(mode("[client]\nssl-mode=VERIFY_CA\nssl"), TlsMode::VerifyCa);
        assert_eq!(mode("[client]\nssl"), TlsMode::Required);
        assert_eq!(mode("[client]\nssl=0"), TlsMode::Disabled);
        assert_eq!(mode("[client]\nssl\nskip-ssl"), TlsMode::Disabled);
        assert_eq!(mode("[client]\nssl_verify_server_cert"), TlsMode::VerifyIdentity);
        assert_eq!(mode("[client]\nssl-verify-server-cert=0"), TlsMode::Preferred);
        assert_eq!(mode("[client]\nssl-ca=/etc/ca.pem"), TlsMode::VerifyCa);
        assert_eq!(mode("[client]\nssl-ca="), TlsMode::Preferred);
        let named = tls(&ConnectArgs::default(), "[client]\nssl-mode=REQUIRED\nssl-ca=/etc/ca.pem");
        assert_eq!(named.asked_by.as_deref(), Some("ssl-mode in /x/my.cnf line 2"));
        assert_eq!(named.authorities, Some(PathBuf::from("/etc/ca.pem")));
        let bad = Tls::resolve(&ConnectArgs::default(), &files("[client]\nssl-mode=maybe")).unwrap_err();
        assert_eq!(bad.to_string(), "\"maybe\" is no value for ssl-mode (ssl-mode in /x/my.cnf line 2)");
    }

    #[test]
    fn what_is_typed_counts_more() {
        let typed = ConnectArgs { tls_mode: Some(TlsMode::Disabled), ..ConnectArgs::default() };
        assert_eq!(tls(&typed, "[client]\nssl-mode=REQUIRED").mode, TlsMode::Disabled);
        let typed = ConnectArgs { tls_authorities: Some(PathBuf::from("/a.pem")), ..ConnectArgs::default() };
        assert_eq!(tls(&typed, "").mode, TlsMode::VerifyCa);
    }
}
