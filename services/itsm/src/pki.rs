//! `itsm pki`: an authority of one's own for the certificates by which the parts of an installation
//! know each other, where nothing else issues them.
//!
//! It works on one folder and asks nothing of a running installation. A part needs `ca.crt` and its
//! own two files of it; `ca.key` stays where certificates are made.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Subcommand, value_parser};
use comfy_table::{Table, presets};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use time::OffsetDateTime;
use x509_parser::{extensions::GeneralName, pem::parse_x509_pem};

use crate::{
    embedded::folder::{make_folder, write_private},
    wiring::{GATEWAY, PROVISIONER},
};

/// What an installation has besides services and may need a certificate for.
const SERVERS: [&str; 2] = ["nats", "postgres"];
const AUTHORITY: &str = "ca";
/// Days, as the commands have them where nothing else is said.
const AUTHORITY_COUNTS: i64 = 3650;
const COUNTS: i64 = 365;
const ENDS_SOON: i64 = 30;
/// Clocks are apart: what was just issued counts for others too.
const BEFORE: TimeDelta = TimeDelta::minutes(10);

/// Certificates for the parts of an installation.
#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Makes an authority: ca.crt and ca.key in a folder that has none.
    Init {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// How long it counts.
        #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = value_parser!(u16).range(1..=7300))]
        days: u16,
    },
    /// Issues certificates: NAME.crt and NAME.key, for who calls and for who listens.
    #[command(
        after_help = "Example, for Kubernetes:\n  itsm pki issue certificates --dns '{name}.itsm.svc' --dns localhost"
    )]
    Issue {
        /// The folder of the authority.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// For whom. Default: every service, gateway, provisioner, nats and postgres.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// One more DNS name or IP address of each; {name} stands for NAME.
        #[arg(long, value_name = "NAME")]
        dns: Vec<String>,
        /// How long they count, at most as long as the authority.
        #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = value_parser!(u16).range(1..=3650))]
        days: u16,
    },
    /// Issues anew what ends soon, with the same names and a new key. Services take it without a
    /// restart.
    Rotate {
        /// The folder of the authority.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// What ends within that many days.
        #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = value_parser!(u16).range(0..=3650))]
        within: u16,
        /// How long the new ones count, at most as long as the authority.
        #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = value_parser!(u16).range(1..=3650))]
        days: u16,
    },
}

impl Pki {
    /// Carries out the command.
    ///
    /// # Errors
    /// Says what is missing, or in the way.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        #[expect(clippy::disallowed_methods, reason = "certificates count by the clocks of machines")]
        let text = self.at(Utc::now())?;
        writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")?;
        Ok(ExitCode::SUCCESS)
    }

    fn at(self, now: DateTime<Utc>) -> anyhow::Result<String> {
        let after = |days: u16| now + TimeDelta::days(days.into());
        match self {
            Self::Init { folder, days } => {
                make_authority(&folder, now, after(days))?;
                Ok(format!(
                    "made an authority in {} that counts until {}; ca.key stays here, every part gets ca.crt",
                    folder.display(),
                    day(after(days))
                ))
            }
            Self::Issue { folder, names, dns, days } => {
                let names = if names.is_empty() { known().map(str::to_owned).collect() } else { names };
                let authority = Authority::open(&folder)?;
                let wanted = names.iter().map(|name| Ok((name.as_str(), all_names(name, &dns)?)));
                let wanted = wanted.collect::<anyhow::Result<Vec<_>>>()?;
                for path in names.iter().flat_map(|name| authority.paths(name)) {
                    if path.exists() {
                        bail!("{} is there; `itsm pki rotate` issues anew what ends soon", path.display());
                    }
                }
                let mut rows = Vec::new();
                for (name, also) in wanted {
                    rows.push((name.to_owned(), authority.issue(name, also, now, after(days))?, "issued"));
                }
                Ok(table(&rows))
            }
            Self::Rotate { folder, within, days } => {
                let authority = Authority::open(&folder)?;
                let mut rows = Vec::new();
                for (name, held) in issued(&folder)? {
                    if held.ends <= after(within) {
                        let anew = authority.issue(&name, held.names, now, after(days))?;
                        rows.push((name, anew, "issued anew"));
                    } else {
                        rows.push((name, held, "still counts"));
                    }
                }
                let authority = Held { names: vec![], ends: authority.ends };
                let done = if authority.ends <= after(within) { "ends soon: make another" } else { "still counts" };
                rows.insert(0, (AUTHORITY.to_owned(), authority, done));
                Ok(table(&rows))
            }
        }
    }
}

/// Makes what is missing of an authority and of the certificates of all parts, and issues anew what ends
/// soon.
///
/// # Errors
/// Fails when the folder cannot be written, or a file in it is damaged.
pub fn keep(folder: &Path) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "certificates count by the clocks of machines")]
    keep_at(folder, Utc::now())
}

fn keep_at(folder: &Path, now: DateTime<Utc>) -> anyhow::Result<()> {
    let after = |days: i64| now + TimeDelta::days(days);
    if !folder.join("ca.crt").exists() {
        make_authority(folder, now, after(AUTHORITY_COUNTS))?;
    }
    let authority = Authority::open(folder)?;
    for name in known() {
        let [certificate, key] = authority.paths(name);
        let counts = certificate.exists() && key.exists() && look(&fs::read(&certificate)?)?.0.ends > after(ENDS_SOON);
        if !counts {
            authority.issue(name, all_names(name, &[])?, now, after(COUNTS))?;
        }
    }
    Ok(())
}

/// Who has a certificate in an installation that is whole.
pub fn known() -> impl Iterator<Item = &'static str> {
    proto::SERVICES.into_iter().chain([GATEWAY, PROVISIONER]).chain(SERVERS)
}

/// What a certificate says.
struct Held {
    names: Vec<String>,
    ends: DateTime<Utc>,
}

fn table(rows: &[(String, Held, &str)]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["name", "names in it", "ends", ""]);
    for (name, held, done) in rows {
        table.add_row([name.as_str(), &held.names.join(", "), &day(held.ends), done]);
    }
    table.to_string()
}

fn day(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d").to_string()
}

/// All names of a part's certificate. A name says who somebody is, so nobody gets another's.
fn all_names(name: &str, more: &[String]) -> anyhow::Result<Vec<String>> {
    let sound = |name: &str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if name.is_empty() || !sound(name) || name == AUTHORITY {
        bail!("`{name}` cannot be a name: it has to be of the letters a-z, digits and `-`, and not `{AUTHORITY}`");
    }
    let mut all = vec![name.to_owned()];
    for also in more.iter().map(|also| also.replace("{name}", name)) {
        if also != name && known().any(|known| known == also) {
            bail!("{name} cannot have the name of {also}");
        }
        if !all.contains(&also) {
            all.push(also);
        }
    }
    Ok(all)
}

fn make_authority(folder: &Path, now: DateTime<Utc>, ends: DateTime<Utc>) -> anyhow::Result<()> {
    let [certificate, key_path] = ["ca.crt", "ca.key"].map(|file| folder.join(file));
    if let Some(there) = [&certificate, &key_path].into_iter().find(|path| path.exists()) {
        bail!("{} is there already", there.display());
    }
    let mut params = params(&format!("itsm {}", day(now)), vec![], now, ends)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let made = params.self_signed(&key)?;
    make_folder(folder, 0o700)?;
    write_private(&key_path, key.serialize_pem().as_bytes())?;
    write_private(&certificate, made.pem().as_bytes())?;
    Ok(())
}

fn params(
    name: &str,
    names: Vec<String>,
    now: DateTime<Utc>,
    ends: DateTime<Utc>,
) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).context("one of the names can be none")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::from_unix_timestamp((now - BEFORE).timestamp())?;
    params.not_after = OffsetDateTime::from_unix_timestamp(ends.timestamp())?;
    Ok(params)
}

/// Who issues.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    ends: DateTime<Utc>,
}

impl Authority {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let [certificate, key_path] = ["ca.crt", "ca.key"].map(|file| folder.join(file));
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| {
                format!("cannot read {}; `itsm pki init {}` makes an authority", path.display(), folder.display())
            })
        };
        let text = read(&certificate)?;
        let key = KeyPair::from_pem(&read(&key_path)?).with_context(|| format!("{} is no key", key_path.display()))?;
        let (held, public) = look(text.as_bytes()).with_context(|| format!("{} is none", certificate.display()))?;
        if public != key.subject_public_key_info() {
            bail!("{} is not the key of {}", key_path.display(), certificate.display());
        }
        let issuer = Issuer::from_ca_cert_pem(&text, key)
            .with_context(|| format!("{} is not the certificate of an authority", certificate.display()))?;
        Ok(Self { folder: folder.to_owned(), issuer, ends: held.ends })
    }

    fn paths(&self, name: &str) -> [PathBuf; 2] {
        ["crt", "key"].map(|kind| self.folder.join(format!("{name}.{kind}")))
    }

    /// Writes the key first: whoever reads between the two keeps to what it had.
    fn issue(&self, name: &str, names: Vec<String>, now: DateTime<Utc>, ends: DateTime<Utc>) -> anyhow::Result<Held> {
        let ends = ends.min(self.ends);
        let mut params = params(name, names.clone(), now, ends).with_context(|| format!("cannot issue for {name}"))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let [certificate_path, key_path] = self.paths(name);
        write_private(&key_path, key.serialize_pem().as_bytes())?;
        write_private(&certificate_path, certificate.pem().as_bytes())?;
        Ok(Held { names, ends })
    }
}

/// The certificates in a folder besides the authority's.
fn issued(folder: &Path) -> anyhow::Result<Vec<(String, Held)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let (Some(name), Some("crt")) =
            (path.file_stem().and_then(|name| name.to_str()), path.extension().and_then(|kind| kind.to_str()))
        else {
            continue;
        };
        if name != AUTHORITY {
            let (held, _) = look(&fs::read(&path)?).with_context(|| format!("{} is none", path.display()))?;
            found.push((name.to_owned(), held));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// When each certificate of a folder ends, the authority's included.
pub fn ends(folder: &Path) -> anyhow::Result<Vec<(String, DateTime<Utc>)>> {
    let mut found: Vec<_> = issued(folder)?.into_iter().map(|(name, held)| (name, held.ends)).collect();
    if let Ok(text) = fs::read(folder.join(AUTHORITY).with_extension("crt")) {
        found.push((AUTHORITY.to_owned(), look(&text)?.0.ends));
    }
    Ok(found)
}

/// What a certificate says, and its public key.
fn look(text: &[u8]) -> anyhow::Result<(Held, Vec<u8>)> {
    let (_, pem) = parse_x509_pem(text).map_err(|_| anyhow::anyhow!("it is not of the form of a certificate"))?;
    let certificate = pem.parse_x509().map_err(|_| anyhow::anyhow!("it is not of the form of a certificate"))?;
    let ends = DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0).context("it never ends")?;
    let also = certificate.subject_alternative_name().ok().flatten();
    let names = also.iter().flat_map(|also| &also.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    let names = names.collect();
    Ok((Held { names, ends }, certificate.public_key().raw.to_vec()))
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    four.ok().or_else(|| Some(std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::days(day)
    }

    fn init(folder: &Path) -> anyhow::Result<String> {
        Pki::Init { folder: folder.to_owned(), days: 365 }.at(at(0))
    }

    fn issue(folder: &Path, names: &[&str], dns: &[&str], days: u16) -> anyhow::Result<String> {
        let [names, dns] = [names, dns].map(|all| all.iter().map(|&one| one.to_owned()).collect());
        Pki::Issue { folder: folder.to_owned(), names, dns, days }.at(at(0))
    }

    fn rotate(folder: &Path, now: DateTime<Utc>) -> String {
        Pki::Rotate { folder: folder.to_owned(), within: 30, days: 90 }.at(now).unwrap()
    }

    #[test]
    fn what_counts_is_kept_and_what_is_missing_or_ends_soon_is_made() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("pki");
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        keep_at(&folder, at(0)).unwrap();
        let (authority, sla, nats) = (read("ca.crt"), read("sla.crt"), read("nats.crt"));
        fs::remove_file(folder.join("nats.key")).unwrap();
        keep_at(&folder, at(1)).unwrap();
        assert_eq!((read("ca.crt"), read("sla.crt")), (authority.clone(), sla.clone()));
        assert_ne!(read("nats.crt"), nats);
        keep_at(&folder, at(COUNTS - ENDS_SOON)).unwrap();
        assert_ne!(read("sla.crt"), sla);
        assert_eq!(read("ca.crt"), authority);
    }

    #[test]
    fn every_part_has_a_certificate_that_only_its_owner_may_read() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("certificates");
        assert!(issue(&folder, &[], &[], 90).unwrap_err().to_string().contains("itsm pki init"));
        init(&folder).unwrap();
        let said = issue(&folder, &[], &["{name}.itsm.svc", "127.0.0.1", "{name}"], 90).unwrap();
        assert!(said.contains("incident, incident.itsm.svc, 127.0.0.1"), "{said}");
        let issued: Vec<_> = issued(&folder).unwrap().into_iter().map(|(name, _)| name).collect();
        let mut wanted: Vec<_> = known().collect();
        wanted.sort_unstable();
        assert_eq!(issued, wanted);
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }

    #[test]
    fn nothing_is_overwritten_and_nobody_gets_anothers_name() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        init(folder).unwrap();
        let authority = fs::read(folder.join("ca.key")).unwrap();
        assert!(init(folder).unwrap_err().to_string().contains("ca.crt is there"));
        assert_eq!(fs::read(folder.join("ca.key")).unwrap(), authority);
        issue(folder, &["sla"], &[], 90).unwrap();
        let refused = issue(folder, &["alert", "sla"], &[], 90).unwrap_err().to_string();
        assert!(refused.contains("sla.crt is there") && !folder.join("alert.crt").exists(), "{refused}");
        assert!(issue(folder, &["alert"], &["gateway"], 90).is_err());
        assert!(issue(folder, &["ca"], &[], 90).is_err());
        assert!(issue(folder, &["../alert"], &[], 90).is_err());
    }

    #[test]
    fn what_ends_soon_is_issued_anew_with_its_names() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        init(folder).unwrap();
        issue(folder, &["sla"], &["sla.itsm.svc", "::1"], 40).unwrap();
        issue(folder, &["alert"], &[], 90).unwrap();
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let (sla, alert) = (read("sla.key"), read("alert.crt"));
        let said = rotate(folder, at(9));
        assert!(!said.contains("anew") && said.contains("still counts"), "{said}");
        let said = rotate(folder, at(10));
        assert!(read("sla.key") != sla && read("alert.crt") == alert, "{said}");
        let (held, _) = look(&read("sla.crt")).unwrap();
        assert_eq!(
            (held.names.as_slice(), held.ends),
            (&["sla", "sla.itsm.svc", "::1"].map(str::to_owned)[..], at(100))
        );
        // Nothing counts longer than who issued it.
        let said = rotate(folder, at(350));
        assert!(said.contains("make another"), "{said}");
        assert_eq!(look(&read("alert.crt")).unwrap().0.ends, at(365));
    }

    #[test]
    fn an_authority_with_anothers_key_issues_nothing() {
        let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        init(one.path()).unwrap();
        init(other.path()).unwrap();
        fs::copy(other.path().join("ca.key"), one.path().join("ca.key")).unwrap();
        assert!(issue(one.path(), &["sla"], &[], 90).unwrap_err().to_string().contains("is not the key of"));
    }
}
