//! One request to the API, before it is made.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands for itself in a path, a query and a form (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes, or begins a task.
    Post,
    /// Changes.
    Put,
    /// Removes.
    Delete,
}

/// A request: everything of it but the server and the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it does.
    pub method: Method,
    /// Where, below `/api2/json`.
    pub path: String,
    /// With what, in order.
    pub parameters: Vec<(&'static str, String)>,
    /// What it is for, as it goes on after "cannot": `start VM 105 on pve1`.
    pub purpose: String,
    /// Which privileges it needs, and where.
    pub needs: String,
}

impl Call {
    /// A request that reads.
    #[must_use]
    pub fn get(path: impl Into<String>, purpose: impl Into<String>, needs: impl Into<String>) -> Self {
        Self::new(Method::Get, path, purpose, needs)
    }

    /// A request without parameters.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>, purpose: impl Into<String>, needs: impl Into<String>) -> Self {
        let (path, purpose, needs) = (path.into(), purpose.into(), needs.into());
        Self { method, path, parameters: Vec::new(), purpose, needs }
    }

    /// The same with one parameter more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.parameters.push((name, value.to_string()));
        self
    }

    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The parameters as a query or a form has them.
    pub(super) fn encoded(&self) -> String {
        let pair = |(name, value): &(&'static str, String)| format!("{}={}", encoded(name), encoded(value));
        self.parameters.iter().map(pair).collect::<Vec<_>>().join("&")
    }
}

/// A text as part of a path, a query or a form.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        })
    }
}

/// As a person reads it: the method, the path, and each parameter on a line of its own.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        self.parameters.iter().try_for_each(|(name, value)| write!(f, "\n    {name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_for_forms_and_plain_for_people() {
        let call = Call::new(Method::Post, "/nodes/a/qemu", "make it", "").with("net0", "virtio=AA:BB,bridge=vmbr0");
        assert_eq!(call.encoded(), "net0=virtio%3DAA%3ABB%2Cbridge%3Dvmbr0");
        assert_eq!(call.to_string(), "POST /nodes/a/qemu\n    net0=virtio=AA:BB,bridge=vmbr0");
    }
}
