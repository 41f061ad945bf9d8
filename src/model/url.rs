//! Addresses for people to read.

use std::borrow::Cow;

/// An address as messages and logs show it: without who signs in, who may be a token, and without the password. What is no
/// URL may still be meant as one, so it does not have to be one.
#[must_use]
pub fn without_login(text: &str) -> Cow<'_, str> {
    let from = text.find("://").map_or(0, |at| at + "://".len());
    let Some((before, rest)) = text.split_at_checked(from) else { return Cow::Borrowed(text) };
    // RFC 3986, section 3.2: that is where the authority ends. A password with a slash in it makes it end too early, and
    // then what stands behind the colon is no port.
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    let login = match authority.rfind('@') {
        // Without a scheme, `vdi@12` is no address.
        Some(at) => (from > 0 || authority.contains(':')).then_some(at),
        None => {
            let port = authority.rsplit_once(':').map(|(_, port)| port);
            let is_port = port.is_none_or(|port| port.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit()));
            if is_port { None } else { rest.rfind('@') }
        }
    };
    match login.and_then(|at| rest.get(at..)) {
        Some(after) => Cow::Owned(format!("{before}***{after}")),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_signs_in_is_not_shown() {
        for (text, shown) in [
            ("https://me:s3cret@mirror.example/alpine?x#y", "https://***@mirror.example/alpine?x#y"),
            ("https://t0ken@mirror.example", "https://***@mirror.example"),
            ("ftp://me:s3@cret@h/x", "ftp://***@h/x"),
            ("http://me:s3/cret@h/x", "http://***@h/x"),
            ("me:s3cret@h", "***@h"),
            ("http://me:s3 cret@h/", "http://***@h/"),
        ] {
            assert_eq!(without_login(text), shown);
        }
    }

    #[test]
    fn everything_else_is_shown_as_it_is() {
        for text in [
            "http://mirror:8080/@scope/x",
            "http://[::1]:80/a@b",
            "http://[fe80::1]/a@b",
            "vdi@12",
            "",
            "://",
            "10.0.0.1:80",
        ] {
            assert_eq!(without_login(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC*", password in "[a-z0-9]{8}") {
            prop_assert!(without_login(&text).len() <= text.len() + 3);
            let url = format!("http://me:{password}@{text}");
            prop_assume!(!text.contains(&password));
            let shown = without_login(&url).into_owned();
            prop_assert!(!shown.contains(&password), "{}", shown);
        }
    }
}
