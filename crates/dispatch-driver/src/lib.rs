//! Runs the turn machine's effects through the ports and feeds the results back.
