//! What the tests share.

pub mod alpine;
pub mod large;
pub mod lbu;
pub mod postgres;
pub mod relay;
pub mod server;
pub mod signer;
pub mod site;
pub mod trees;
