//! What is to be done in a cluster, worked out and not done: pure functions of a wish and of how the cluster is.

mod adopt;
mod create;
mod power;

pub use adopt::{AdoptError, Adoption, adopt};
pub(super) use create::settings;
pub use create::{CreateError, Member, Wish, create};
pub use power::{Power, delete, force_reboot, power};
