//! The part of CycloneDX 1.6 (ECMA-424) that a bundle needs, field by field in the order of the specification.
//!
//! Types of our own: `serde-cyclonedx` builds every struct with a macro and a second `thiserror`, `cyclonedx-bom` brings
//! twenty crates with a parser and a validator, and both make what the specification calls optional an `Option` that
//! somebody has to fill. What a bundle has fits on a page.

use serde::Serialize;

use crate::model::digest::Digest;

/// The whole document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    pub(super) bom_format: &'static str,
    pub(super) spec_version: &'static str,
    pub(super) serial_number: String,
    /// Of documents with this serial number.
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) components: Vec<Component>,
    pub(super) dependencies: Vec<Dependencies>,
}

/// What the document is about. It has no `timestamp`: the same bundle gives the same bytes at any time.
#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    pub(super) lifecycles: [Lifecycle; 1],
    pub(super) tools: Tools,
    pub(super) component: Component,
}

/// At which point of the product's life the document was made.
#[derive(Debug, Serialize)]
pub(super) struct Lifecycle {
    pub(super) phase: &'static str,
}

/// What made the document.
#[derive(Debug, Serialize)]
pub(super) struct Tools {
    pub(super) components: [Component; 1],
}

/// A component, or the bundle as a whole.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Component {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) supplier: Option<Organization>,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) licenses: Vec<LicenseChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) external_references: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) properties: Vec<Property>,
}

/// What a component is, in the words of the specification.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Application,
    /// The bundle itself. It is an operating system too, but readers take the only component of that kind for the
    /// distribution whose advisories they look up.
    Container,
    #[default]
    File,
    Library,
    OperatingSystem,
}

/// Who maintains a component.
#[derive(Debug, Serialize)]
pub(super) struct Organization {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) contact: Vec<Contact>,
}

/// A person.
#[derive(Debug, Serialize)]
pub(super) struct Contact {
    pub(super) name: String,
    pub(super) email: String,
}

/// A digest of a component's file.
#[derive(Debug, Serialize)]
pub(super) struct Hash {
    alg: &'static str,
    content: Digest,
}

impl From<Digest> for Hash {
    fn from(content: Digest) -> Self {
        Self { alg: "SHA-256", content }
    }
}

/// The licences of a component: one expression, or any number of single licences.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LicenseChoice {
    /// An SPDX licence expression.
    Expression(String),
    /// One licence.
    License(License),
}

/// One licence.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum License {
    /// An identifier of the SPDX licence list.
    Id(&'static str),
    /// Anything else.
    Name(String),
}

/// Where there is more about a component.
#[derive(Debug, Serialize)]
pub(super) struct ExternalReference {
    pub(super) url: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// A fact for which the specification has no field.
#[derive(Debug, Serialize)]
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// What one component needs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dependencies {
    #[serde(rename = "ref")]
    pub(super) reference: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) depends_on: Vec<String>,
}

impl Bom {
    /// The document as JSON that a person can read, with a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a document holds only texts, numbers and lists");
        bytes.push(b'\n');
        bytes
    }
}
