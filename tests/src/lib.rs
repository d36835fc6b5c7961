//! Fakes, the scripted model server, simulation and end-to-end tests.

pub mod desk;
pub mod faults;
pub mod figures;
pub mod matrix;
pub mod model_server;
pub mod moments;
pub mod product;
pub mod queue;
pub mod random;
pub mod real_agents;
pub mod serve;
pub mod sim;
pub mod soak;
pub mod stand_ins;
pub mod stopwatch;
pub mod terminal;
