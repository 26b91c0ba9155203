#!/bin/sh
# Install pdscaler into a virtual environment: what the Dockerfile does, as a script that tests run without Docker.
#
#   deploy/image/install.sh SOURCE TARGET      SOURCE: this repository. TARGET: the environment to make.
#
# Everything comes from locked, hashed wheels; no package's own code runs while it is installed.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 SOURCE TARGET" >&2
    exit 2
fi
source=$1
target=$2
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
options="--quiet --disable-pip-version-check --no-input"

# 1. The wheel, built by the locked hatchling in an environment of its own.
"${PYTHON:-python3}" -m venv "$build/venv"
"$build/venv/bin/pip" install $options --only-binary :all: --require-hashes -r "$source/requirements/build.txt"
"$build/venv/bin/pip" wheel $options --no-deps --no-build-isolation --wheel-dir "$build" "$source"

# 2. The dependencies, exactly as locked, then the wheel without asking for any more.
"${PYTHON:-python3}" -m venv "$target"
"$target/bin/pip" install $options --only-binary :all: --require-hashes -r "$source/requirements/operator.txt"
"$target/bin/pip" install $options --no-deps --no-index "$build"/pdscaler-*.whl

# 3. What is installed fits together and starts; pip is not needed after that.
"$target/bin/pip" check --disable-pip-version-check
"$target/bin/pdscaler" --version
"$target/bin/python" -m pip uninstall --quiet --yes pip setuptools
