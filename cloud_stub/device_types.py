"""The device types a fresh cloud knows: balena's slugs, names and processor architectures."""

from __future__ import annotations

from typing import NamedTuple


class DeviceType(NamedTuple):
    """One device type."""

    name: str
    architecture: str


ARCHITECTURES = ("aarch64", "armv7hf", "rpi", "amd64", "i386")

DEVICE_TYPES: dict[str, DeviceType] = {
    "raspberry-pi": DeviceType("Raspberry Pi (v1 / Zero / Zero W)", "rpi"),
    "raspberry-pi2": DeviceType("Raspberry Pi 2", "armv7hf"),
    "raspberrypi3": DeviceType("Raspberry Pi 3", "armv7hf"),
    "raspberrypi3-64": DeviceType("Raspberry Pi 3 (using 64bit OS)", "aarch64"),
    "raspberrypi4-64": DeviceType("Raspberry Pi 4 (using 64bit OS)", "aarch64"),
    "raspberrypi400-64": DeviceType("Raspberry Pi 400", "aarch64"),
    "raspberrypi5": DeviceType("Raspberry Pi 5", "aarch64"),
    "raspberrypi0-2w-64": DeviceType("Raspberry Pi Zero 2 W (64bit)", "aarch64"),
    "raspberrypicm4-ioboard": DeviceType("Raspberry Pi CM4 IO Board", "aarch64"),
    "fincm3": DeviceType("Balena Fin (CM3)", "armv7hf"),
    "intel-nuc": DeviceType("Intel NUC", "amd64"),
    "generic-amd64": DeviceType("Generic x86_64 (GPT)", "amd64"),
    "generic-aarch64": DeviceType("Generic AARCH64 (ARMv8)", "aarch64"),
    "genericx86-64-ext": DeviceType("Generic x86_64 (legacy MBR)", "amd64"),
    "jetson-nano": DeviceType("Nvidia Jetson Nano SD-CARD", "aarch64"),
    "jetson-xavier-nx-devkit": DeviceType("Nvidia Jetson Xavier NX Devkit SD-CARD", "aarch64"),
    "jetson-orin-nano-devkit-nvme": DeviceType("Nvidia Jetson Orin Nano 8GB NVME", "aarch64"),
    "beaglebone": DeviceType("BeagleBone", "armv7hf"),
    "beaglebone-black": DeviceType("BeagleBone Black", "armv7hf"),
    "qemux86-64": DeviceType("QEMU x86_64", "amd64"),
    "iot-gate-imx8": DeviceType("Compulab IOT-GATE-iMX8", "aarch64"),
    "rockpi-4b-rk3399": DeviceType("ROCK Pi 4B", "aarch64"),
}
"""By slug; a fleet's own type is always known."""
