//! A request head that passes is read alike by hyper's parser, and however it arrives.
#![no_main]

use keygate::proxy::fuzz::head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = head(bytes, usize::MAX);
    for step in [1, 7] {
        assert_eq!(head(bytes, step), whole, "in steps of {step}");
    }
    let Some(length) = whole else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert!(http::Method::from_bytes(request.method.unwrap().as_bytes()).is_ok());
    let target = request.path.unwrap();
    assert_eq!(
        http::Uri::try_from(target)
            .unwrap()
            .query()
            .map_or(0, str::len),
        { target.split_once('?').map_or(0, |(_, query)| query.len()) }
    );
    let mut lengths = 0;
    let mut codings = 0;
    for field in request.headers.iter() {
        assert!(http::HeaderName::from_bytes(field.name.as_bytes()).is_ok());
        assert!(http::HeaderValue::from_bytes(field.value).is_ok());
        lengths += usize::from(field.name.eq_ignore_ascii_case("content-length"));
        codings += usize::from(field.name.eq_ignore_ascii_case("transfer-encoding"));
    }
    assert!(lengths + codings <= 1, "one framing");
});
