package plugin

// What people read when a decision was not the verifier's own stands here, one line each: what, why, what next.
const (
	textFetchGoesOn = "they are still being fetched, because the registry is slow or many images are new"
	textPanic       = "the plugin failed while deciding; see its log, and report it"
	textDeadline    = "no answer within the time that the runtime allows; try again, and see `kritis status` for what is slow"
	textNoIdentity  = "the runtime did not say which image the container runs; a restored checkpoint, or an image record that is gone: pull the image again"
	textNoSnapshot  = "the runtime has no snapshot of the container in the snapshotters that this plugin accepts (--snapshotter)"
	textAsking      = "its attestations are being asked for, slowly, so that a change of policy is no burst for registries"
	textNotAsked    = "the policy agent could not be asked for its attestations; see kritis status"
	textUnmanaged   = "it was not started by the kubelet or another client of CRI, so policy does not cover it: somebody with root on the node used ctr, nerdctl, Docker or the like; find out who, or ignore it"
	textImageGone   = "the image that the container runs is no longer in the runtime's store, so what its name led to cannot be compared; pull it again"
	textNameMoved   = "on this node the name no longer leads to the image that the container runs, or never did; start the container anew"
	textOtherLayers = "the container's file system was not made from the layers of that image; remove the image from the node and pull it again"
)

// Why enforcement is best effort, for the log, `kritis status` and the metric's label (code) alike.
const (
	codeNoValidators  = "RuntimeWithoutValidators"
	textNoValidators  = "the runtime's NRI has no validators: while the plugin is stalled or gone, containers start unchecked; upgrade to containerd 2.2 or later"
	codeNotRequired   = "NotRequired"
	textNotRequired   = "the runtime does not require the plugin: while it is absent, containers start unchecked; add the drop-in of daemonset/containerd to the runtime's configuration"
	codeUnknown       = "RequiredUnknown"
	textRequiredError = "cannot tell whether the runtime requires the plugin: "
	codeDisabled      = "NRIDisabled"
	textDisabled      = "the runtime's configuration switches NRI off, so no plugin is asked; take disable = true or disabled_plugins out"
	codeTolerated     = "MissingTolerated"
	textTolerated     = "the runtime's configuration lets an annotation of the pod tolerate a missing plugin; remove tolerate_missing_plugins_annotation"
)
