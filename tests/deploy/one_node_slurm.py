"""A Slurm cluster of this one machine in a temporary folder: munged, slurmctld and slurmd with files and ports of their own,
so that an installed Slurm is neither used nor disturbed. Needs root (slurmd starts jobs as their owner) and Debian's
slurm-wlm and munge. Python 3 standard library only."""
import os
import pathlib
import shutil
import socket
import subprocess
import time

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scancel", "scontrol"]


def why_not():
    """Why no cluster can be started here, or None."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [p for p in PROGRAMS if shutil.which(p, path=path) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "not root: slurmd cannot start"
    return None


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


class OneNodeSlurm:
    """with OneNodeSlurm(folder) as slurm: slurm.run("sbatch", ...)"""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.processes = []
        self.env = dict(os.environ, SLURM_CONF=str(self.folder / "slurm.conf"),
                        PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

    def write_config(self):
        host = socket.gethostname().split(".")[0]
        cpus = os.cpu_count()
        ctld, slurmd = free_ports(2)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(f"""\
ClusterName=thimble
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={self.folder}/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ctld}
SlurmdPort={slurmd}
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nIgnoreSystemd=yes\n")

    def start(self, *command):
        log = open(self.folder / f"{command[0]}.out", "wb")
        process = subprocess.Popen(command, env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        log.close()
        self.processes.append(process)
        return process

    def wait_for(self, what, condition, seconds=60):
        for _ in range(seconds * 10):
            if condition():
                return
            for p in self.processes:
                if p.poll() is not None:
                    raise RuntimeError(f"{p.args[0]} ended before {what}\n{self.logs()}")
            time.sleep(0.1)
        raise RuntimeError(f"no {what} within {seconds} s\n{self.logs()}")

    def logs(self):
        return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-3000:]}"
                         for p in sorted(self.folder.glob("*")) if p.suffix in (".log", ".out"))

    def run(self, *command, check=True):
        done = subprocess.run([str(c) for c in command], env=self.env, capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}")
        return done

    def __enter__(self):
        try:
            self.folder.chmod(0o755)
            self.write_config()
            key = self.folder / "munge.key"
            key.write_bytes(os.urandom(1024))
            key.chmod(0o400)
            # --force: the folder lies below one that everybody may write to.
            self.start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
                       f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
                       f"--seed-file={self.folder}/munge.seed")
            self.wait_for("munge", lambda: (self.folder / "munge.socket").exists())
            self.start("slurmctld", "-D", "-f", self.env["SLURM_CONF"])
            self.start("slurmd", "-D", "-f", self.env["SLURM_CONF"])
            self.wait_for("idle node", lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False).stdout)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
