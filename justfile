# A façade over `cargo xtask`, which is the real thing: `cargo xtask help`.

default:
    @cargo xtask help

# What CI runs; changes no file of the tree
verify:
    cargo xtask verify

# All tests; installs what they need
test *ARGS:
    cargo xtask test {{ARGS}}

# Formats, and applies what clippy can fix
fix:
    cargo xtask fix

# Installs the pinned programs that tests need
tools:
    cargo xtask tools
