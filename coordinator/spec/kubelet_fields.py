"""The fields of KubeletConfiguration, kubelet.config.k8s.io/v1beta1, and which of them an operator may set.

Taken from staging/src/k8s.io/kubelet/config/v1beta1/types.go of 1.31.14, 1.32.13, 1.33.13, 1.34.9, 1.35.6 and 1.36.3.
kubelet itself logs a misspelt field at level INFO and starts without it (measured on 1.36.2), so it is refused here.
"""

_NAMES_1_31 = """
address allowedUnsafeSysctls authentication authorization cgroupDriver cgroupRoot cgroupsPerQOS clusterDNS
clusterDomain configMapAndSecretChangeDetectionStrategy containerLogMaxFiles containerLogMaxSize
containerLogMaxWorkers containerLogMonitorInterval containerRuntimeEndpoint contentType cpuCFSQuota
cpuCFSQuotaPeriod cpuManagerPolicy cpuManagerPolicyOptions cpuManagerReconcilePeriod
enableContentionProfiling enableControllerAttachDetach enableDebugFlagsHandler enableDebuggingHandlers
enableProfilingHandler enableServer enableSystemLogHandler enableSystemLogQuery enforceNodeAllocatable
eventBurst eventRecordQPS evictionHard evictionMaxPodGracePeriod evictionMinimumReclaim
evictionPressureTransitionPeriod evictionSoft evictionSoftGracePeriod failCgroupV1 failSwapOn featureGates
fileCheckFrequency hairpinMode healthzBindAddress healthzPort httpCheckFrequency imageGCHighThresholdPercent
imageGCLowThresholdPercent imageMaximumGCAge imageMinimumGCAge imageServiceEndpoint iptablesDropBit
iptablesMasqueradeBit kernelMemcgNotification kubeAPIBurst kubeAPIQPS kubeReserved kubeReservedCgroup
kubeletCgroups localStorageCapacityIsolation logging makeIPTablesUtilChains maxOpenFiles
maxParallelImagePulls maxPods memoryManagerPolicy memorySwap memoryThrottlingFactor nodeLeaseDurationSeconds
nodeStatusMaxImages nodeStatusReportFrequency nodeStatusUpdateFrequency oomScoreAdj podCIDR podLogsDir
podPidsLimit podsPerCore port protectKernelDefaults providerID qosReserved readOnlyPort registerNode
registerWithTaints registryBurst registryPullQPS reservedMemory reservedSystemCPUs resolvConf
rotateCertificates runOnce runtimeRequestTimeout seccompDefault serializeImagePulls serverTLSBootstrap
showHiddenMetricsForVersion shutdownGracePeriod shutdownGracePeriodByPodPriority
shutdownGracePeriodCriticalPods staticPodPath staticPodURL staticPodURLHeader streamingConnectionIdleTimeout
syncFrequency systemCgroups systemReserved systemReservedCgroup tlsCertFile tlsCipherSuites tlsMinVersion
tlsPrivateKeyFile topologyManagerPolicy topologyManagerPolicyOptions topologyManagerScope tracing
volumePluginDir volumeStatsAggPeriod
"""
_SINCE_1_31 = frozenset(_NAMES_1_31.split())
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
    return _SINCE_1_31 | {field for field, since in _SINCE.items() if since <= minor}


def first_minor(field: str) -> int | None:
    """The minor release that brought `field`; None for one that every supported release has, or none."""
    return _SINCE.get(field)
