#!/bin/sh
# Makes the passwords of compose.yaml in deploy/secrets, or in the folder that is given. What is there stays.
# Needs openssl, and mosquitto_passwd or Docker.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-"$here/secrets"}
mkdir -p "$folder"
cd "$folder"
# Containers read them as their own users; the folder keeps others out.
chmod 700 .

password() { openssl rand -hex 24; }

credentials() { # file, user, password
    [ -e "$1" ] || printf 'username = "%s"\npassword = "%s"\n' "$2" "$3" >"$1"
}

password_of() { sed -n 's/^password = "\(.*\)"$/\1/p' "$1"; }

[ -e postgres-password ] || password | tr -d '\n' >postgres-password
credentials postgres.toml fleet "$(cat postgres-password)"

hashes=
for user in fleet bench-1 bench-2; do
    case $user in fleet) file=mqtt-server.toml ;; *) file=mqtt-$user.toml ;; esac
    credentials "$file" "$user" "$(password)"
    hashes="$hashes$user:$(password_of "$file")
"
done
printf '%s' "$hashes" >mosquitto-passwords
if command -v mosquitto_passwd >/dev/null 2>&1; then
    mosquitto_passwd -U mosquitto-passwords
else
    docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/secrets" eclipse-mosquitto:2.0.21 \
        mosquitto_passwd -U /secrets/mosquitto-passwords
fi
chmod 644 ./*
echo "secrets are in $folder"
