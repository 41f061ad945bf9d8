//! The model of Bivouac without the rest of the program, so that it compiles quickly with optimisation.

#[path = "../../../src/model/mod.rs"]
pub mod model;
