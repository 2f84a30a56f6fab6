"""The fields of KubeletConfiguration, kubelet.config.k8s.io/v1beta1, and what each of them holds.

Taken from staging/src/k8s.io/kubelet/config/v1beta1/types.go of 1.31.14, 1.32.13, 1.33.13, 1.34.9, 1.35.6 and 1.36.3:
fields were added, none was removed or changed its type. kubelet itself logs a misspelt field at level INFO and starts
without it (measured on 1.36.2), so it is refused here; with a value of another type it does not start.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import cast


class Kind(StrEnum):
    """What a field holds."""

    BOOLEAN = "true or false"
    WHOLE_NUMBER = "a whole number"
    NUMBER = "a number"
    DURATION = "a duration, for example 1m30s"
    TEXT = "text"
    TEXTS = "a mapping of text to text"
    SWITCHES = "a mapping of text to true or false"
    LIST_OF_TEXT = "a list of text"
    LIST_OF_NUMBERS = "a list of whole numbers"
    LIST = "a list"
    MAPPING = "a mapping"


_FIELDS = {
    Kind.BOOLEAN: """
        cgroupsPerQOS cpuCFSQuota enableContentionProfiling enableControllerAttachDetach
        enableDebugFlagsHandler enableDebuggingHandlers enableProfilingHandler enableServer
        enableSystemLogHandler enableSystemLogQuery failCgroupV1 failSwapOn kernelMemcgNotification
        localStorageCapacityIsolation makeIPTablesUtilChains mergeDefaultEvictionSettings
        protectKernelDefaults registerNode rotateCertificates runOnce seccompDefault serializeImagePulls
        serverTLSBootstrap singleProcessOOMKill
    """,
    Kind.WHOLE_NUMBER: """
        containerLogMaxFiles containerLogMaxWorkers eventBurst eventRecordQPS evictionMaxPodGracePeriod
        healthzPort imageGCHighThresholdPercent imageGCLowThresholdPercent iptablesDropBit
        iptablesMasqueradeBit kubeAPIBurst kubeAPIQPS maxOpenFiles maxParallelImagePulls maxPods
        nodeLeaseDurationSeconds nodeStatusMaxImages oomScoreAdj podPidsLimit podsPerCore port readOnlyPort
        registryBurst registryPullQPS
    """,
    Kind.NUMBER: """
        memoryThrottlingFactor
    """,
    Kind.DURATION: """
        containerLogMonitorInterval cpuCFSQuotaPeriod cpuManagerReconcilePeriod
        evictionPressureTransitionPeriod fileCheckFrequency httpCheckFrequency imageMaximumGCAge
        imageMinimumGCAge nodeStatusReportFrequency nodeStatusUpdateFrequency runtimeRequestTimeout
        shutdownGracePeriod shutdownGracePeriodCriticalPods streamingConnectionIdleTimeout syncFrequency
        volumeStatsAggPeriod
    """,
    Kind.TEXT: """
        address cgroupDriver cgroupRoot clusterDomain configMapAndSecretChangeDetectionStrategy
        containerLogMaxSize containerRuntimeEndpoint contentType cpuManagerPolicy hairpinMode
        healthzBindAddress imagePullCredentialsVerificationPolicy imageServiceEndpoint kubeReservedCgroup
        kubeletCgroups memoryManagerPolicy memoryReservationPolicy podCIDR podLogsDir providerID
        reservedSystemCPUs resolvConf showHiddenMetricsForVersion staticPodPath staticPodURL systemCgroups
        systemReservedCgroup tlsCertFile tlsMinVersion tlsPrivateKeyFile topologyManagerPolicy
        topologyManagerScope volumePluginDir
    """,
    Kind.TEXTS: """
        cpuManagerPolicyOptions evictionHard evictionMinimumReclaim evictionSoft evictionSoftGracePeriod
        kubeReserved qosReserved systemReserved topologyManagerPolicyOptions
    """,
    Kind.SWITCHES: """
        featureGates
    """,
    Kind.LIST_OF_TEXT: """
        allowedUnsafeSysctls clusterDNS enforceNodeAllocatable preloadedImagesVerificationAllowlist
        tlsCipherSuites
    """,
    Kind.LIST_OF_NUMBERS: """
        tlsCurvePreferences
    """,
    Kind.LIST: """
        registerWithTaints reservedMemory shutdownGracePeriodByPodPriority
    """,
    Kind.MAPPING: """
        authentication authorization crashLoopBackOff logging memorySwap staticPodURLHeader tracing
        userNamespaces
    """,
}
_KINDS = {field: kind for kind, fields in _FIELDS.items() for field in fields.split()}
_SINCE = {
    "crashLoopBackOff": 32,
    "singleProcessOOMKill": 32,
    "imagePullCredentialsVerificationPolicy": 33,
    "mergeDefaultEvictionSettings": 33,
    "preloadedImagesVerificationAllowlist": 33,
    "userNamespaces": 33,
    "memoryReservationPolicy": 36,
    "tlsCurvePreferences": 36,
}


def kubelet_fields(minor: int) -> frozenset[str]:
    """The fields kubelet 1.`minor` knows."""
    return frozenset(field for field in _KINDS if _SINCE.get(field, 0) <= minor)


def kind_of(field: str) -> Kind:
    """What a known field holds. Raises KeyError."""
    return _KINDS[field]


def first_minor(field: str) -> int | None:
    """The minor release that brought `field`; None for one that every supported release has, or none."""
    return _SINCE.get(field)


_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def seconds(duration: object) -> float | None:
    """Go's `1m30s` in seconds; None when it is not one."""
    if duration == "0":
        return 0.0
    if not isinstance(duration, str):
        return None
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|h|m|s)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _all(kind: Callable[[object], bool], values: object) -> bool:
    """Whether every item of a list, or every value of a mapping, is of a kind."""
    return all(kind(value) for value in (values.values() if isinstance(values, dict) else cast("list[object]", values)))


def _text(value: object) -> bool:
    return isinstance(value, str)


_FITS: dict[Kind, Callable[[object], bool]] = {
    Kind.BOOLEAN: lambda value: isinstance(value, bool),
    Kind.WHOLE_NUMBER: _whole,
    Kind.NUMBER: lambda value: _whole(value) or isinstance(value, float),
    Kind.DURATION: lambda value: seconds(value) is not None,
    Kind.TEXT: _text,
    Kind.TEXTS: lambda value: isinstance(value, dict) and _all(_text, value),
    Kind.SWITCHES: lambda value: isinstance(value, dict) and _all(lambda each: isinstance(each, bool), value),
    Kind.LIST_OF_TEXT: lambda value: isinstance(value, list) and _all(_text, value),
    Kind.LIST_OF_NUMBERS: lambda value: isinstance(value, list) and _all(_whole, value),
    Kind.LIST: lambda value: isinstance(value, list),
    Kind.MAPPING: lambda value: isinstance(value, dict),
}


def fits(kind: Kind, value: object) -> bool:
    """Whether kubelet's decoder takes the value for a field of this kind."""
    return _FITS[kind](value)
