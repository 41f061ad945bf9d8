//! Rollouts that have virtual machines rebooted.
