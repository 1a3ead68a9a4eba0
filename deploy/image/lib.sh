# shellcheck shell=bash
# What the scripts of this folder share: putting together the file system of an image from files of the
# machine that they run on. Sourced, never executed.

# shellcheck disable=SC2034 # for those who source it
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

say() { printf '%s\n' "$*" >&2; }
fail() { say "${0##*/}: $*"; exit 1; }

# place FILE ROOT PATH [MODE]: a copy of what FILE leads to.
place() { install -D -m "${4:-755}" "$(readlink -f "$1")" "$2$3"; }

# libraries_of ROOT PROGRAM...: what they are linked with, and the loader, where they look for them.
libraries_of() {
    local root=$1 library
    shift
    # A program linked statically has none, and ldd says so by failing.
    { ldd "$@" 2>/dev/null || true; } | sed -nE 's/^[[:space:]]+(.* => )?(\/[^ ]+) \(0x.*/\2/p' | sort -u | while read -r library; do
        # Where /lib is a link to /usr/lib, the image has one too.
        case $library in /lib*) library=/usr$library ;; esac
        [ -e "$root$library" ] || place "$library" "$root" "$library"
    done
    for library in lib lib64; do
        if [ -d "$root/usr/$library" ] && [ ! -e "$root/$library" ]; then ln -s "usr/$library" "$root/$library"; fi
    done
}

# pack ROOT OUT USER FOLDER...: a tar of everything, the folders being the user's and all else root's.
pack() {
    local root=$1 out=$2 user=$3 folder
    shift 3
    local common=(--sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --numeric-owner --format=gnu -C "$root")
    local left_out=()
    for folder in "$@"; do left_out+=(--exclude="./$folder"); done
    chmod 755 "$root"
    tar "${common[@]}" "${left_out[@]}" --owner=0 --group=0 -cf "$out.new" .
    if [ $# -gt 0 ]; then
        for folder in "$@"; do
            tar "${common[@]}" --no-recursion --owner="$user" --group="$user" -rf "$out.new" "./$folder"
        done
    fi
    mv "$out.new" "$out"
}
