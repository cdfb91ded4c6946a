# Sourced by the scripts beside it; POSIX sh.

# What is downloaded once and shared by every clone lives here, on macOS too.
# The Go tests apply the same rule.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sleight

# Each go that a script runs, or that runs beneath it, is of this release. Make has set it already.
GOTOOLCHAIN=$("$(dirname "$0")/toolchain")
export GOTOOLCHAIN

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

may_install() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1
}

# debian_install PACKAGE... installs them, and fails where it may not: not on
# Debian or one of its children, or not as root.
debian_install() {
    may_install || return 1
    echo "${0##*/}: installing $*" >&2
    apt-get update -qq >&2 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null
}

# debian_install_idle SERVICES PACKAGE... installs them too, but leaves the services off, now and when the
# machine starts: their ports are not ours to take. SERVICES has blanks between the names.
debian_install_idle() (
    services=$1
    shift
    may_install || exit 1
    # Packages ask this program before they start a service. One that is there already is
    # its owner's. Ours allows everything once we are gone, should it stay behind.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        cat >"$policy" <<EOF
#!/bin/sh
# Made by ${0##*/} for as long as it installs $*.
case " $services " in *" \${1%.service} "*) kill -0 $$ 2>/dev/null && exit 101 ;; esac
exit 0
EOF
        chmod 755 "$policy"
    fi
    debian_install "$@" || exit 1
    for service in $services; do
        if command -v systemctl >/dev/null 2>&1; then
            systemctl disable "$service"
        else
            update-rc.d "$service" disable
        fi >/dev/null 2>&1 || true
        # Where the owner's policy let it start.
        service "$service" stop >/dev/null 2>&1 || true
    done
)

# publish FOLDER DEST renames a finished folder to DEST on the same file system,
# so that nobody ever sees half of it. Of two at once, the first wins.
publish() {
    mv "$1" "$2"
    # DEST was there already, and mv put the folder inside it.
    rm -rf "$2/${1##*/}"
}
