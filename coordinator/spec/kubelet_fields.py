"""The fields of KubeletConfiguration, kubelet.config.k8s.io/v1beta1, and which of them an operator may set.

Taken from staging/src/k8s.io/kubelet/config/v1beta1/types.go of 1.31.14, 1.32.13, 1.33.13, 1.34.9, 1.35.6 and 1.36.3:
fields were added, none was removed or changed its type. kubelet itself logs a misspelt field at level INFO and starts
without it (measured on 1.36.2), so it is refused here; with a value of another type it does not start.
"""

from enum import StrEnum


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

# field -> who sets it instead.
OWNED = {
    "apiVersion": "bootwright",
    "authentication": "bootwright: client certificates and webhook, never anonymous",
    "authorization": "bootwright: Webhook",
    "cgroupDriver": "bootwright: systemd, as containerd",
    "clusterDNS": "network.serviceCIDR: its tenth address",
    "clusterDomain": "network.clusterDomain",
    "containerRuntimeEndpoint": "bootwright",
    "enableServer": "bootwright: the API server talks to it",
    "failCgroupV1": "bootwright: the image has cgroup v2",
    "healthzBindAddress": "bootwright: its health checks ask 127.0.0.1",
    "healthzPort": "bootwright: its health checks ask 10248",
    "imageServiceEndpoint": "bootwright",
    "kind": "bootwright",
    "podCIDR": "network.podCIDR",
    "port": "bootwright: 10250",
    "providerID": "the agent, from the instance's identity",
    "readOnlyPort": "bootwright: 0, because that port asks for no credentials",
    "registerNode": "bootwright",
    "registerWithTaints": "instanceGroups[].taints",
    "rotateCertificates": "bootwright: the agent renews certificates",
    "runOnce": "bootwright",
    "serverTLSBootstrap": "bootwright: the agent issues serving certificates",
    "staticPodPath": "bootwright",
    "staticPodURL": "bootwright: pods from a URL are not signed",
    "staticPodURLHeader": "bootwright: pods from a URL are not signed",
    "tlsCertFile": "bootwright",
    "tlsPrivateKeyFile": "bootwright",
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
