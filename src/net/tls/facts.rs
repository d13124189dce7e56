//! What a certificate says, beyond what rustls checks: names, dates, and the subject for the log.
//! Not for: trusting it.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use crate::clock::Timestamp;

/// What a certificate of ours says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The names of its subjectAltName, lower case.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Of a certificate that clients are shown.
pub(super) fn of_server(certificate: &CertificateDer<'_>) -> Result<Facts, der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    let certificate = certificate.tbs_certificate();
    let names = certificate.get_extension::<SubjectAltName>()?;
    let names = names.map(|(_critical, SubjectAltName(names))| names);
    let names = names.unwrap_or_default().into_iter();
    let names = names.filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    Ok(Facts {
        names: names.collect(),
        not_before: moment(certificate.validity().not_before),
        not_after: moment(certificate.validity().not_after),
    })
}

/// The subject of a client's certificate in the form of RFC 4514; none where it has none.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate().subject().to_string();
    (!subject.is_empty()).then_some(subject)
}

fn moment(time: Time) -> Timestamp {
    let micros = time.to_unix_duration().as_micros();
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateParams;
    use rcgen::DnType;
    use rcgen::KeyPair;

    use super::*;

    fn made(params: &CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn names_and_dates_are_those_of_the_certificate() {
        let names = ["A.example", "*.B.example", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2060, 3, 4);
        let facts = of_server(&made(&params)).unwrap();
        assert_eq!(facts.names, ["a.example", "*.b.example"], "no addresses");
        assert_eq!(facts.not_before.to_short(), "2026-01-02T00:00:00Z");
        assert_eq!(facts.not_after.to_short(), "2060-03-04T00:00:00Z");
        let nameless = CertificateParams::default();
        assert_eq!(of_server(&made(&nameless)).unwrap().names, [""; 0]);
    }

    #[test]
    fn a_subject_is_written_as_rfc_4514_has_it() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        assert_eq!(subject(&made(&params)), None);
        params.distinguished_name.push(DnType::CountryName, "SE");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Acme, \"Inc\"");
        params
            .distinguished_name
            .push(DnType::CommonName, "billing");
        let written = subject(&made(&params)).unwrap();
        assert_eq!(written, "CN=billing,O=Acme\\, \\\"Inc\\\",C=SE");
        assert_eq!(subject(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
