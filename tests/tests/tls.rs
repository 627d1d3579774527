//! Encrypted connections to real servers: what each mode accepts, and what it says when it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reseed_server::options::{Tls, TlsMode};
use reseed_server::{ConnectOptions, Server as Live, ServerError, Stop};
use reseed_tests::trip::Trip;
use reseed_tests::{Kit, Server};

const PASSWORD: &str = "over the wire";

/// An authority and a server's certificate for 127.0.0.1, as PEM files.
struct Authority {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

fn authority(dir: &Path) -> Result<Authority> {
    fs::create_dir_all(dir)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = KeyPair::generate()?;
    let root = params.self_signed(&own)?;
    let issuer = Issuer::new(params, own);
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    let written = |name: &str, text: String| -> Result<PathBuf> {
        let path = dir.join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    Ok(Authority {
        ca: written("ca.pem", root.pem())?,
        certificate: written("server.pem", leaf.pem())?,
        key: written("server-key.pem", key.serialize_pem())?,
    })
}

fn connect(server: &Server, host: &str, tls: Tls) -> Result<Live, ServerError> {
    let options = ConnectOptions::tcp(host, server.port(), "secure").with_password(PASSWORD).with_tls(tls);
    Live::connect(options, Stop::never())
}

fn signed_by(mode: TlsMode, ca: &Path) -> Tls {
    Tls { authorities: Some(ca.to_owned()), ..Tls::mode(mode) }
}

fn modes(name: &str) -> Result<()> {
    let trip = Trip::new()?;
    let (ours, other) = (authority(&trip.place("ours"))?, authority(&trip.place("other"))?);
    let server = Kit::server(name)?
        .option(&format!("ssl_ca={}", ours.ca.display()))
        .option(&format!("ssl_cert={}", ours.certificate.display()))
        .option(&format!("ssl_key={}", ours.key.display()))
        .start()?;
    // Whoever gets in with this account came encrypted.
    server.sql(&[
        &format!("CREATE USER secure@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL"),
        "GRANT ALL ON *.* TO secure@'%'",
    ])?;
    for tls in [
        Tls::default(),
        Tls::mode(TlsMode::Required),
        signed_by(TlsMode::VerifyCa, &ours.ca),
        signed_by(TlsMode::VerifyIdentity, &ours.ca),
    ] {
        connect(&server, "127.0.0.1", tls.clone()).with_context(|| format!("{name}: {tls:?}"))?;
    }
    let open = connect(&server, "127.0.0.1", Tls::mode(TlsMode::Disabled));
    ensure!(matches!(open, Err(ServerError::Login { code: 1045, .. })), "{open:?}");
    for (host, tls) in [
        // The certificate is not for this name of the host.
        ("localhost", signed_by(TlsMode::VerifyCa, &ours.ca)),
        ("localhost", signed_by(TlsMode::VerifyIdentity, &ours.ca)),
        ("127.0.0.1", signed_by(TlsMode::VerifyCa, &other.ca)),
        ("127.0.0.1", signed_by(TlsMode::VerifyIdentity, &other.ca)),
        ("127.0.0.1", Tls::mode(TlsMode::VerifyCa)),
    ] {
        let refused = connect(&server, host, tls.clone());
        ensure!(matches!(refused, Err(ServerError::Tls { .. })), "{name}: {host} {tls:?}: {refused:?}");
    }

    // The same from the command line.
    let password = trip.place("password");
    fs::write(&password, PASSWORD)?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let backup = |ca: &Path| -> Result<reseed_tests::tool::Finished> {
        reseed_tests::tool::Reseed::new([
            "backup",
            "--no-defaults",
            "--host",
            "127.0.0.1",
            "--user",
            "secure",
        ])?
        .arg("--repo")
        .arg(trip.repo())
        .args(["--name", "tls", "--ssl-mode", "VERIFY_IDENTITY", "--port", &server.port().to_string()])
        .arg("--password-file")
        .arg(&password)
        .arg("--ssl-ca")
        .arg(ca)
        .run()
    };
    let refused = backup(&other.ca)?.expect_code(3)?;
    ensure!(refused.stderr.contains("no encrypted connection"), "{}", refused.stderr);
    ensure!(refused.stderr.contains("the command line"), "{}", refused.stderr);
    backup(&ours.ca)?.expect_success()?;
    Ok(())
}

#[test]
fn each_mode_of_mariadb() -> Result<()> {
    modes("mariadb-10.11")
}

#[test]
fn each_mode_of_mysql() -> Result<()> {
    modes("mysql-9.7")
}

/// MariaDB 10.11 has no TLS unless it is set up; MySQL and MariaDB 11.4 make a certificate by themselves, which nobody
/// signed who is known.
#[test]
fn a_server_as_it_comes() -> Result<()> {
    for (name, has_tls) in [("mariadb-10.11", false), ("mariadb-11.8", true), ("mysql-9.7", true)] {
        let server = Kit::server(name)?.start()?;
        server.sql(&[&format!("CREATE USER secure@'%' IDENTIFIED BY '{PASSWORD}'")])?;
        connect(&server, "127.0.0.1", Tls::default()).with_context(|| name.to_owned())?;
        let required = connect(&server, "127.0.0.1", Tls::mode(TlsMode::Required));
        ensure!(required.is_ok() == has_tls, "{name}: {required:?}");
        let verified = connect(&server, "127.0.0.1", Tls::mode(TlsMode::VerifyIdentity));
        ensure!(matches!(verified, Err(ServerError::Tls { .. })), "{name}: {verified:?}");
        if !has_tls {
            let reason = verified.map(drop).map_err(|error| error.to_string());
            ensure!(reason.as_ref().is_err_and(|text| text.contains("the server has no TLS")), "{reason:?}");
        }
    }
    Ok(())
}
