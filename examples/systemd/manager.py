"""Does with fyke.service what systemd would do, and counts what clients notice of it: see README.md."""

import contextlib, os, pathlib, select, shlex, signal, socket, subprocess, sys, tempfile, threading

SECONDS = 30  # Nobody waits for longer.


class Manager:
    """As much of systemd as `Type=notify` with one socket needs."""

    def __init__(self, fyke, folder):
        self.folder, self.processes = folder, []
        # As the unit of the socket: it is bound once, and outlives every process. As descriptor 3, which is where services find it.
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.listening.getsockname()[1]
        os.dup2(self.listening.fileno(), 3)
        self.log = open(folder / "log", "w")
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(f"{folder}/notify")
        self.notices.settimeout(SECONDS)
        with socket.create_server(("127.0.0.1", 0)) as free:
            admin = free.getsockname()[1]
        self.app = App()
        self.replaced = {
            "/usr/local/bin/fyke": fyke, "/etc/fyke": folder, "/run/fyke": folder, "/var/lib/fyke": f"{folder}/state",
            "0.0.0.0:8080": f"127.0.0.1:{self.port}", "127.0.0.1:9900": f"127.0.0.1:{admin}", ":3000": f":{self.app.port}",
        }
        self.unit = pathlib.Path("fyke.service").read_text().splitlines()
        assert f"ListenStream=127.0.0.1:{self.port}" in self.here(pathlib.Path("fyke.socket").read_text()).splitlines()
        (folder / "proxy.yaml").write_text(self.here(pathlib.Path("proxy.yaml").read_text()))

    def here(self, text):
        """With this machine's paths and ports."""
        for written, actual in self.replaced.items():
            text = text.replace(written, str(actual))
        return text

    def setting(self, key):
        """Words of the service's unit."""
        value = next(line.removeprefix(f"{key}=") for line in self.unit if line.startswith(f"{key}="))
        return [self.here(word) for word in shlex.split(value)]

    def run(self, command, begin=subprocess.Popen, more={}, **options):
        own = dict(pair.split("=", 1) for pair in self.setting("Environment"))
        environment = {**os.environ, "FYKE_LOG": "warn", **own, "NOTIFY_SOCKET": f"{self.folder}/notify", **more}
        return begin(command, env=environment, stdout=self.log, stderr=self.log, **options)

    def start(self):
        """The socket is descriptor 3, and LISTEN_PID says for whom. It has started when it says so."""
        command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *self.setting("ExecStart")]
        more = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "fyke.socket"}
        return self.ready(self.run(command, more=more, pass_fds=[3]))

    def take_over(self):
        """The next binary, beside the one that runs."""
        return self.ready(self.run([*self.setting("ExecStart"), "--take-over"]))

    def ready(self, process):
        self.processes.append(process)
        said = self.told("READY=1")
        assert f"MAINPID={process.pid}" in said, said
        return process

    def told(self, word):
        """Waits for a notice that says this."""
        while True:
            said = self.notices.recv(4096).decode().splitlines()
            if word in said:
                return said

    def is_silent(self):
        """Whether nothing was said that nobody has waited for."""
        return not select.select([self.notices], [], [], 0)[0]

    def reload(self):
        """Its exit code."""
        return self.run(self.setting("ExecReload"), subprocess.run, timeout=SECONDS).returncode

    def stop(self, process):
        process.send_signal(signal.Signals[self.setting("KillSignal")[0]])
        self.told("STOPPING=1")

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


class App:
    """What the proxy forwards to: answers when it is let."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked, self.go = threading.Event(), threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        connection, _ = self.socket.accept()
        connection.recv(4096)
        self.asked.set()
        self.go.wait(SECONDS)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow")


class Clients:
    """Ask on a new connection each time, until they are told to stop."""

    def __init__(self, port):
        self.port, self.answers, self.failures, self.ended = port, 0, [], threading.Event()
        self.threads = [threading.Thread(target=self.go_on, daemon=True) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def go_on(self):
        while not self.ended.is_set():
            try:
                answer = ask(self.port, "/ping")
                assert answer.startswith("pong"), answer
                self.answers += 1
            except Exception as error:
                self.failures.append(repr(error))
                return

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(SECONDS)


def ask(port, path):
    """The body of the answer, which has to be a 200."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: example\r\nconnection: close\r\n\r\n".encode())
        text = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 "), text or "closed without an answer"
    return body


def main(fyke, folder):
    manager = Manager(fyke, folder)
    with contextlib.closing(manager):
        process = manager.start()
        clients = Clients(manager.port)
        print("ok  start: it serves on the socket that it was given, and says that it is ready")

        file = folder / "proxy.yaml"
        good = file.read_text().replace("body: pong", "body: pong again")
        file.write_text(good)
        assert manager.reload() == 0 and ask(manager.port, "/ping") == "pong again"
        file.write_text(good.replace("cluster: app", "cluster: nobody"))
        assert manager.reload() != 0 and ask(manager.port, "/ping") == "pong again"
        file.write_text(good)
        print("ok  reload: a new answer; what is wrong is refused, and what ran goes on")

        slow = []
        asks = threading.Thread(target=lambda: slow.append(ask(manager.port, "/slow")), daemon=True)
        asks.start()
        assert manager.app.asked.wait(SECONDS)
        manager.stop(process)
        assert process.poll() is None, "it did not wait for an open request"
        manager.app.go.set()
        asks.join(SECONDS)
        assert slow == ["slow"] and process.wait(SECONDS) == 0
        print("ok  stop: the open request is answered, then it ends")

        process, before = manager.start(), clients.answers
        for _ in range(2):
            manager.stop(process)
            assert process.wait(SECONDS) == 0
            process = manager.start()
        print("ok  restart: clients wait in the socket's queue")

        successor = manager.take_over()
        # Had the old one said that it stops, that would be said of the service.
        assert process.wait(SECONDS) == 0 and manager.is_silent()
        assert ask(manager.port, "/ping") == "pong again" and manager.reload() == 0
        print("ok  take over: the next process is the main one, the old one has ended")

        clients.end()
        manager.stop(successor)
        assert successor.wait(SECONDS) == 0
        assert clients.answers > before and not clients.failures, clients.failures[:3]
        print("ok  no request failed")


def too_late(number, _frame):
    raise SystemExit(f"ended by signal {number}")


for number in (signal.SIGALRM, signal.SIGTERM):
    signal.signal(number, too_late)
signal.alarm(45)
with tempfile.TemporaryDirectory(prefix="fyke-") as folder:
    try:
        main(sys.argv[1], pathlib.Path(folder))
    except BaseException:
        print(pathlib.Path(folder, "log").read_text(), file=sys.stderr)
        raise
