"""The small process between us and a server: it ends the server when we are gone, even if we were killed.

It is started as `python -I -S -c SOURCE signal uid gid lock argv…`, so it must stand by itself.
"""

GUARD_SOURCE = r"""
import ctypes, os, signal, subprocess, sys, threading

stop, uid, gid, lock = (int(word) for word in sys.argv[1:5])

def die_with_the_guard():
    try:
        ctypes.CDLL(None).prctl(1, stop)  # PR_SET_PDEATHSIG, Linux only; elsewhere the pipe alone has to do
    except (AttributeError, OSError):
        pass

who = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
server = subprocess.Popen(
    sys.argv[5:], stdin=subprocess.DEVNULL, preexec_fn=die_with_the_guard, pass_fds=[lock] if lock >= 0 else [], **who
)
for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(wanted, lambda *_: server.send_signal(stop))

def watch_the_pipe():
    while os.read(0, 512):
        pass
    server.send_signal(stop)
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()

threading.Thread(target=watch_the_pipe, daemon=True).start()
code = server.wait()
os._exit(code if code >= 0 else 128 - code)
"""
