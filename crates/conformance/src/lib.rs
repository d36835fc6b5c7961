//! Each port's contract as tests, one named test per clause.
