"""Every driver that the entry points name keeps the contract; the suite itself notices drivers that do not."""

from recorderd.driverapi.testing import DriverConformance


class TestEveryDriver(DriverConformance):
    pass
