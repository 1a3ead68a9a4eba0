# shellcheck shell=bash
# What the scripts of this folder share: where things are, and how to run Postgres here without
# touching any other one. Sourced, never executed; it must not start or install anything by itself.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export PATH="$root/.tools/bin:$PATH"
services="directory catalog alert incident change sla notification"

# Settings of another Postgres in the caller's environment would lead psql away from ours.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGPASSFILE PGDATABASE PGSERVICE PGOPTIONS PGDATA PGSSLMODE

say() { printf '%s\n' "$*" >&2; }
fail() { say "${0##*/}: $*"; exit 1; }

# The major version in "postgres (PostgreSQL) 15.18 (Debian ...)".
postgres_major() { "$1/postgres" --version 2>/dev/null | sed -E 's/[^0-9]*([0-9]+).*/\1/'; }

# The folder of the newest usable Postgres, found as `itsm up` finds it. Empty when there is none.
postgres_bin() {
    local folder best="" best_major=0 major
    # In PATH may stand links to two or three of the programs: the folder they lead to has them all.
    for folder in "$(dirname "$(readlink -f "$(command -v postgres || echo /nowhere/postgres)")")" \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] && [ -x "$folder/psql" ] || continue
        major=$(postgres_major "$folder")
        if [ "${major:-0}" -gt "$best_major" ]; then best=$folder best_major=$major; fi
    done
    [ -z "$best" ] || printf '%s\n' "$best"
}

need_postgres() {
    pg=$(postgres_bin)
    [ -n "$pg" ] || fail "Postgres 15 or newer is not installed: run tools/setup"
    [ "$(postgres_major "$pg")" -ge 15 ] || fail "Postgres $(postgres_major "$pg") in $pg is too old, 15 is needed: run tools/setup"
}

# Postgres refuses to run as root, so root lends it a user that owns nothing else.
postgres_user() { if id -u postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi; }

unprivileged() {
    if [ "$(id -u)" -ne 0 ]; then (cd / && exec "$@"); return; fi
    local user; user=$(postgres_user)
    (cd / && exec setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --clear-groups \
        env HOME=/nonexistent "$@")
}

# A folder of mode 0700 that belongs to the user Postgres will run as.
private_folder() {
    mkdir -p "$1" && chmod 700 "$1"
    if [ "$(id -u)" -eq 0 ]; then chown "$(postgres_user):" "$1"; fi
}

# cluster_init DATA: an empty cluster that trusts whoever reaches its socket.
cluster_init() {
    unprivileged "$pg/initdb" -D "$1" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions >/dev/null
}

# cluster_start DATA SOCKET_FOLDER [SETTING=VALUE...]: on a socket alone, durable to nothing. No
# descriptor of ours may stay open in it, or a pipe that we write to would never end.
cluster_start() {
    local data=$1 socket=$2 options="" setting
    shift 2
    for setting in listen_addresses= unix_socket_directories="$socket" unix_socket_permissions=0700 \
        fsync=off full_page_writes=off synchronous_commit=off max_connections=500 shared_buffers=128MB "$@"; do
        options+=" -c $setting"
    done
    unprivileged "$pg/pg_ctl" -D "$data" -l "$data/server.log" -w -t 60 -s -o "$options" start \
        </dev/null >/dev/null 7>&- 8>&- 9>&- || { tail -n 20 "$data/server.log" >&2; return 1; }
}

cluster_running() { unprivileged "$pg/pg_ctl" -D "$1" status >/dev/null 2>&1; }

cluster_stop() {
    unprivileged "$pg/pg_ctl" -D "$1" -m fast -w -t 30 -s stop >/dev/null 2>&1 \
        || unprivileged "$pg/pg_ctl" -D "$1" -m immediate -w -t 30 -s stop >/dev/null 2>&1 || true
}

# sql SOCKET_FOLDER DATABASE [psql arguments]
sql() {
    local socket=$1 database=$2
    shift 2
    "$pg/psql" -h "$socket" -U postgres -d "$database" -X -q -v ON_ERROR_STOP=1 "$@"
}

# The services that have tables.
services_with_migrations() {
    local service
    for service in $services; do
        if compgen -G "$root/services/$service/migrations/*.sql" >/dev/null; then echo "$service"; fi
    done
}

# database_prepare SOCKET_FOLDER: database and roles, when they are not there yet.
database_prepare() {
    local socket=$1 service role login
    if ! sql "$socket" postgres -At -c "select 1 from pg_database where datname = 'itsm'" | grep -q 1; then
        sql "$socket" postgres -c "create database itsm"
    fi
    for service in $services; do
        for role in "$service" "${service}_worker" "${service}_search" "${service}_owner"; do
            login=login
            [ "$role" != "${service}_owner" ] || login=nologin
            printf "select 'create role %s %s' where not exists (select from pg_roles where rolname = '%s') \\\\gexec\n" \
                "$role" "$login" "$role"
        done
    done | sql "$socket" itsm -f -
}

# schema_prepare SOCKET_FOLDER SERVICE: the schema anew, by its migrations, as its owner.
schema_prepare() {
    local socket=$1 service=$2 file single
    sql "$socket" itsm -c "set client_min_messages = warning" -c "drop schema if exists $service cascade" \
        -c "create schema $service authorization ${service}_owner"
    for file in "$root/services/$service/migrations/"*.sql; do
        [ -e "$file" ] || continue
        single=--single-transaction
        if head -n 1 "$file" | grep -q '^-- no-transaction'; then single=--no-psqlrc; fi
        sql "$socket" itsm $single -c "set role ${service}_owner" -f "$file" >/dev/null \
            || fail "${file#"$root"/} does not apply"
    done
}

# at_least FOUND NEEDED: compares dotted versions.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

nats_version() { "$1" --version 2>/dev/null | sed -nE 's/.*v([0-9]+\.[0-9]+\.[0-9]+).*/\1/p'; }

# The nats-server to use: the project's own, or a newer-than-2.12 one of the PATH. Fails when there is none.
nats_server() {
    local program
    for program in "$root/.tools/bin/nats-server" $(type -ap nats-server || true); do
        if [ -x "$program" ] && at_least "$(nats_version "$program")" 2.12; then echo "$program"; return; fi
    done
    return 1
}
