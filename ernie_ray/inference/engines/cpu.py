"""What the CPU does fast."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def cpu_precisions(cpuinfo: str | None = None) -> list[str]:
    """Precisions of a CPU engine, the fastest first.

    bf16 pays where the CPU has matrix units for it (AMX), and on AMD from Zen 4 on, where OpenVINO
    took half of fp32's time. An Intel CPU with AVX512-BF16 alone took twice as long as in fp32.

    Args:
        cpuinfo: Text of ``/proc/cpuinfo``; None: that of this machine.
    """
    if cpuinfo is None:
        cpuinfo = _CPUINFO.read_text(errors="replace") if _CPUINFO.is_file() else ""
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "").split()
    if "amx_bf16" in flags or ("avx512_bf16" in flags and "AuthenticAMD" in cpuinfo):
        return ["bf16", "fp32"]
    return ["fp32", "bf16"] if "avx512_bf16" in flags else ["fp32"]
