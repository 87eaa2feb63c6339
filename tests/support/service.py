#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""service.py NAME [OPTION...]: a server of somebody else's, for the length of one test.

    redis       [OPTION...]          redis-server with these options beside ours
    nginx       [LINE...]            lines of its `server` block: 'location /x { return 204; }'
    postgres    [NAME=VALUE...]      lines of postgresql.conf
    mariadb     [OPTION...]          mariadbd with these options beside ours

Its data is in a temporary folder, it listens on a free port of 127.0.0.1 and (nginx excepted) on a Unix socket. When it
answers, lines `KEY VALUE` say where it is, and the last one is `ready`. It lives until standard input ends, which it also
does when whoever has started it dies. Before that, lines of standard input are commands, each answered with a line: `stop`
kills it at once (`stopped`), `start` starts it again with the same data and port (`ready`).

A program that is not there: one line `skipped: REASON`, and exit code 77.

Keys: host, port, socket, folder (of its data and logs), and
    certificate  a PEM file that vouches for its TLS, for localhost and 127.0.0.1 (where there is the program openssl):
                 redis: tls_port; nginx: tls_port; postgres and mariadb: on the same port
    postgres     database `weft`; users `trust`, and `plain`, `md5`, `scram` with the password `secret` and the method of
                 their name; `trust` owns the database
    mariadb      database `weft`; users `empty` (no password), `native` (mysql_native_password, password `secret`) and
                 `ed25519` (the same, client_ed25519)
"""
import glob
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

LIMIT_S = 180
PASSWORD = "secret"

# Who is asked is on this machine, whatever proxy leads out of it.
os.environ["no_proxy"] = "*"


class Missing(Exception):
    """A program that is not installed."""


def program(name, *folders):
    """Where it is; some do not stand in everybody's PATH."""
    for folder in folders:
        # (The newest of several versions.)
        for found in sorted(glob.glob(f"{folder}/{name}"), reverse=True):
            return found
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        raise Missing(f"there is no {name} here")
    return found


HELD = []  # what keeps the ports of this process for it


def free_port():
    """A port of 127.0.0.1 for this process alone, until it ends.

    The kernel's own choice would be free no longer than nobody else wants one: it goes to the next who names none, a test
    beside this one or a connection, before the server has it or while it is stopped. (And who tries to connect to it again and
    again may be given it himself, and then talks to himself.) So it is below those that the kernel gives, and whoever asks
    here holds a name for it, which goes with him.
    """
    lowest_given = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(20000, lowest_given if lowest_given > 21000 else 32768)
    for port in random.sample(ports, 200):
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0weft-tests-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        HELD.append(holder)
        return port
    raise RuntimeError(f"none of 200 ports from {ports.start} on is free")


def end_in_order():
    """Whoever is told to end, because he takes too long, takes his servers and folders with him."""
    def end(number, frame):
        sys.exit(f"ended by signal {number}")

    for number in (signal.SIGABRT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def make_certificate(path):
    """A certificate of localhost, and behind it in the same file its key; the key alone is in path + ".key".

    Valid since yesterday: a virtual machine's clock may be put back by a second. (For which it takes `openssl ca`.)
    """
    yesterday = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() - 24 * 3600))
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "index").touch()
        pathlib.Path(folder, "conf").write_text(textwrap.dedent(f"""
            [ca]
            default_ca = ours
            [ours]
            database = {folder}/index
            new_certs_dir = {folder}
            rand_serial = yes
            default_md = sha256
            policy = names
            x509_extensions = extensions
            [names]
            commonName = supplied
            [extensions]
            subjectAltName = DNS:localhost,IP:127.0.0.1
            basicConstraints = critical,CA:TRUE
            subjectKeyIdentifier = hash
        """))
        for command in (["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                         "/CN=localhost", "-keyout", f"{path}.key", "-out", f"{folder}/request"],
                        ["ca", "-config", f"{folder}/conf", "-selfsign", "-keyfile", f"{path}.key", "-in",
                         f"{folder}/request", "-startdate", yesterday, "-days", "30", "-batch", "-notext", "-out", path]):
            subprocess.run(["openssl", *command], check=True, stderr=subprocess.DEVNULL)
    with open(path, "a") as both:
        both.write(pathlib.Path(f"{path}.key").read_text())


class Service:
    """Use it as a block: `with Redis() as server`."""

    user = None  # who it runs as, where we are root
    listens_on_unix = True

    def __init__(self, *options):
        self.options = options
        self.process = None
        self.facts = {}

    def __enter__(self):
        # (Short: a Unix socket's path has 107 bytes at most.)
        self.holder = tempfile.TemporaryDirectory(prefix="weft_", dir="/tmp")
        self.folder = self.holder.name
        try:
            os.chmod(self.folder, 0o755)
            self.port = free_port()
            self.facts = {"host": "127.0.0.1", "port": self.port, "folder": self.folder}
            if shutil.which("openssl"):
                make_certificate(f"{self.folder}/pem")
                self.facts["certificate"] = f"{self.folder}/pem"
            self.prepare()
            self.give_away()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        self.stop()
        self.holder.cleanup()

    def account(self):
        """Some refuse to run as root."""
        if os.getuid() != 0 or not self.user:
            return {}
        names = [name for name in (self.user, "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}]
        entry = pwd.getpwnam(names[0])
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def environment(self):
        """Temporary files apart: MariaDB deletes those of others when it starts."""
        return os.environ | {"TMPDIR": self.folder}

    def give_away(self):
        account = self.account()
        if not account:
            return
        for path in [self.folder, *glob.glob(f"{self.folder}/**", recursive=True)]:
            os.chown(path, account["user"], account["group"])

    def run(self, *command, given=""):
        """A step of the preparation, whose output is shown where it fails."""
        done = subprocess.run(command, input=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=LIMIT_S, cwd=self.folder, env=self.environment(), **self.account())
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} fails: {done.stdout}")

    def start(self):
        log = open(f"{self.folder}/log", "ab")
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        cwd=self.folder, env=self.environment(), **self.account())
        log.close()
        self.silent = self.places()
        # It is the server that says when it answers, so here is the one loop that polls.
        deadline = time.monotonic() + LIMIT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command()[0]} does not answer: {pathlib.Path(self.folder, 'log').read_text()}")
            time.sleep(0.02)

    def stop(self):
        """At once, as a crash would: its data is not needed any more."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def places(self):
        """Where it listens: it does not begin to everywhere at once."""
        found = [(socket.AF_INET, ("127.0.0.1", self.facts[key])) for key in ("port", "tls_port") if key in self.facts]
        if "socket" in self.facts:
            found.append((socket.AF_UNIX, self.facts["socket"]))
        return found

    def answers(self):
        while self.silent:
            family, address = self.silent[0]
            with socket.socket(family) as probe:
                if probe.connect_ex(address) != 0:
                    return False
            self.silent.pop(0)
        return True


class Redis(Service):
    def prepare(self):
        self.binary = program("redis-server")
        self.facts["socket"] = f"{self.folder}/redis.sock"
        self.tls = []
        if "certificate" in self.facts:
            self.facts["tls_port"] = free_port()
            pem = self.facts["certificate"]
            self.tls = ["--tls-port", str(self.facts["tls_port"]), "--tls-cert-file", pem, "--tls-key-file", pem,
                        "--tls-auth-clients", "no"]

    def command(self):
        return [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.facts["socket"],
                "--save", "", "--appendonly", "no", "--dir", self.folder, *self.tls, *self.options]


class Nginx(Service):
    def prepare(self):
        self.binary = program("nginx")
        pathlib.Path(self.folder, "www").mkdir()
        tls = ""
        if "certificate" in self.facts:
            self.facts["tls_port"] = free_port()
            pem = self.facts["certificate"]
            tls = f"listen 127.0.0.1:{self.facts['tls_port']} ssl; ssl_certificate {pem}; ssl_certificate_key {pem};"
        self.facts["www"] = f"{self.folder}/www"
        lines = "\n".join(self.options)
        # (Started by root it changes to a user who could not read a folder of ours.)
        user = "user root;" if os.getuid() == 0 else ""
        pathlib.Path(self.folder, "conf").write_text(textwrap.dedent(f"""
            daemon off; worker_processes 1; {user} pid {self.folder}/pid; error_log {self.folder}/error;
            events {{ worker_connections 512; }}
            http {{
                access_log off;
                client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
                uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
                server {{ listen 127.0.0.1:{self.port}; {tls} root {self.folder}/www;
            """) + lines + "\n}}\n")

    def command(self):
        return [self.binary, "-c", f"{self.folder}/conf", "-p", self.folder, "-e", f"{self.folder}/error"]

    def stop(self):
        # (Its worker would outlive a killed master.)
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                super().stop()


class Postgres(Service):
    user = "postgres"

    def prepare(self):
        binaries = "/usr/lib/postgresql/*/bin"
        self.binary = program("postgres", binaries)
        initdb = program("initdb", binaries)
        self.facts |= {"socket": f"{self.folder}/.s.PGSQL.{self.port}", "database": "weft", "user": "trust"}
        self.give_away()
        self.data = f"{self.folder}/data"
        self.run(initdb, "-D", self.data, "-U", "trust", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
                 "--no-instructions", "--wal-segsize=1")
        statements = ["CREATE DATABASE weft"]
        for name, stored_as in (("plain", "scram-sha-256"), ("md5", "md5"), ("scram", "scram-sha-256")):
            statements += [f"SET password_encryption = '{stored_as}'", f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"]
        self.run(self.binary, "--single", "-D", self.data, "-c", "fsync=off", "postgres",
                 given="".join(statement + "\n" for statement in statements))
        hba = "".join(f"{kind} all {user} {address} {method}\n"
                      for kind, address in (("local", ""), ("host", "127.0.0.1/32"))
                      for user, method in (("plain", "password"), ("md5", "md5"), ("scram", "scram-sha-256"), ("trust", "trust")))
        pathlib.Path(self.data, "pg_hba.conf").write_text(hba)
        lines = [f"port = {self.port}", "listen_addresses = '127.0.0.1'", f"unix_socket_directories = '{self.folder}'",
                 "fsync = off", "max_connections = 50", "shared_buffers = 16MB", "dynamic_shared_memory_type = mmap"]
        if "certificate" in self.facts:
            # (It refuses a key that others may read.)
            key = f"{self.data}/server.key"
            shutil.copy(f"{self.folder}/pem.key", key)
            os.chmod(key, 0o600)
            lines += ["ssl = on", f"ssl_cert_file = '{self.folder}/pem'", f"ssl_key_file = '{key}'"]
        with open(f"{self.data}/postgresql.conf", "a") as conf:
            conf.write("".join(line + "\n" for line in [*lines, *self.options]))

    def command(self):
        return [self.binary, "-D", self.data]

    def answers(self):
        # (It takes connections earlier, and says that it is starting up.)
        try:
            lines = pathlib.Path(self.data, "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def stop(self):
        # An immediate shutdown: without a master, its children would go on for a while.
        if self.process and self.process.poll() is None:
            self.process.send_signal(3)
            self.process.wait()


class Mariadb(Service):
    user = "mysql"
    # It would wait for the disk a thousand times until it is there; what it has written is not needed any more after it.
    no_sync = ["--loose-debug-no-sync", "--loose-innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0"]

    def prepare(self):
        self.binary = program("mariadbd")
        install = program("mariadb-install-db")
        self.facts |= {"socket": f"{self.folder}/mysql.sock", "database": "weft", "user": "native"}
        self.give_away()
        self.data = f"{self.folder}/data"
        self.run(install, "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
                 "--auth-root-authentication-method=normal", *self.no_sync)
        # Statement by statement, each on a line of its own.
        pathlib.Path(self.data, "init.sql").write_text("".join(line + ";\n" for line in (
            "CREATE DATABASE IF NOT EXISTS weft",
            "CREATE USER IF NOT EXISTS empty",
            f"CREATE USER IF NOT EXISTS native IDENTIFIED VIA mysql_native_password USING PASSWORD('{PASSWORD}')",
            "GRANT ALL ON *.* TO empty", "GRANT ALL ON *.* TO native",
            "INSTALL SONAME IF NOT EXISTS 'auth_ed25519'",
            f"CREATE USER IF NOT EXISTS ed25519 IDENTIFIED VIA ed25519 USING PASSWORD('{PASSWORD}')",
            "GRANT ALL ON *.* TO ed25519")))

    def command(self):
        tls = [f"--ssl-cert={self.folder}/pem", f"--ssl-key={self.folder}/pem.key"] if "certificate" in self.facts else []
        return [self.binary, "--no-defaults", f"--datadir={self.data}", f"--port={self.port}", "--bind-address=127.0.0.1",
                f"--socket={self.facts['socket']}", f"--pid-file={self.folder}/pid", f"--init-file={self.data}/init.sql",
                "--skip-name-resolve", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--loose-skip-log-bin",
                *self.no_sync, *tls, *self.options]


SERVICES = {"redis": Redis, "nginx": Nginx, "postgres": Postgres, "mariadb": Mariadb}


def main():
    name, options = sys.argv[1], sys.argv[2:]
    end_in_order()
    try:
        with SERVICES[name](*options) as service:
            for key, value in service.facts.items():
                print(key, value)
            print("ready", flush=True)
            for line in sys.stdin:
                if line.strip() == "stop":
                    service.stop()
                    print("stopped", flush=True)
                elif line.strip() == "start":
                    service.start()
                    print("ready", flush=True)
    except Missing as missing:
        print(f"skipped: {missing}", flush=True)
        return 77
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
