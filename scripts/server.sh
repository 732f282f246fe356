# shellcheck shell=bash disable=SC2154
# Sourced by scripts that run a Java server: `scripts/kafka`, `scripts/s3`. They set `product` (its name), `version`, `libs` (the
# directory of its jars), `pom` (the list of jars) and `jar` (one jar that must be among them), and define `say` and `fail`.

need_java() {
  local found
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ]; then PATH=$JAVA_HOME/bin:$PATH; fi
  local install="on Debian or Ubuntu: apt-get install openjdk-17-jre-headless (or openjdk-21-jre-headless)"
  command -v java >/dev/null || fail "$product needs Java 17 or newer, and there is no program java; $install"
  found=$(java -version 2>&1 | sed --quiet 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${found:-0}" -ge 17 ] || fail "$product needs Java 17 or newer, and $(command -v java) is ${found:-of unknown version}; $install"
}

# Downloads into another directory, then renames it: an incomplete download is never used. One download at a time.
fetch() {
  [ -f "$libs/$jar" ] && return
  command -v mvn >/dev/null || fail "$product is fetched with Maven, and there is no program mvn; on Debian or Ubuntu: apt-get install maven"
  mkdir --parents "$(dirname "$libs")"
  (
    flock 9
    [ -f "$libs/$jar" ] && exit
    say "fetching $product $version into $libs, once"
    rm --recursive --force "$libs".new.*
    new=$(mktemp --directory "$libs.new.XXXXXX")
    trap 'rm --recursive --force "$new"' EXIT
    mvn --quiet --batch-mode -Dstyle.color=never --file "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$new" >&2 9>&- || fail "mvn could not fetch $product; its reason is above"
    [ -f "$new/$jar" ] || fail "mvn brought no $jar"
    chmod 755 "$new"
    # An older version of the script may have fetched fewer jars, which a server of now may be using.
    if [ -d "$libs" ]; then mv --no-clobber "$new"/* "$libs"; else mv --no-target-directory "$new" "$libs"; fi
  ) 9>"$libs.lock" || exit 1
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints a port without a listener, below those that the system assigns to outgoing connections.
free_port() {
  local candidate
  for _ in $(seq 100); do
    candidate=$((RANDOM % 20000 + 12000))
    taken "$candidate" || { echo "$candidate"; return; }
  done
  fail "found no free port"
}
