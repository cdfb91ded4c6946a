# Sourced by the scripts beside it; POSIX sh.

# What is downloaded once and shared by every clone lives here, on macOS too.
# The Go tests apply the same rule.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sleight

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# debian_install PACKAGE... installs them, and fails where it may not: not on
# Debian or one of its children, or not as root.
debian_install() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    echo "${0##*/}: installing $*" >&2
    apt-get update -qq >&2 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null
}

# publish FOLDER DEST renames a finished folder to DEST on the same file system,
# so that nobody ever sees half of it. Of two at once, the first wins.
publish() {
    mv "$1" "$2"
    # DEST was there already, and mv put the folder inside it.
    rm -rf "$2/${1##*/}"
}
