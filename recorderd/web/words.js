// Words for people. The API speaks in stable codes; this page's texts live here and nowhere else.
// Called by every other module; knows no element and no socket.

export const STATES = {
  "recorded": "recorded",
  "damaged": "recorded, damaged",
  "camera-offline": "camera offline",
  "network-loss": "lost on the network",
  "not-scheduled": "not to be recorded",
  "overload-shed": "dropped under overload",
  "storage-error": "storage failed",
  "clock-step": "clock was set",
  "server-down": "server was down",
  "groomed": "thinned out",
  "deleted": "deleted",
  "on-remote": "at a remote site",
  "requested": "requested",
  "retrieved": "retrieved",
  "unexplained": "unexplained",
};

export const SHOWN_IN_LEGEND = [
  "recorded", "damaged", "camera-offline", "network-loss", "clock-step", "storage-error", "server-down",
];

const REASONS = {
  "refused": "connection refused",
  "timeout": "no answer",
  "stall": "media stopped",
  "closed": "connection closed",
  "protocol": "broken protocol",
  "auth-failed": "password refused",
  "unsupported": "not supported",
  "connecting": "connecting",
  "stop": "stopped",
  "crash": "crashed",
  "io-error": "the disk reports errors",
  "no-space": "no space left",
  "quota": "no space left within the limit",
  "read-only": "the file system is read-only",
  "storage-missing": "the disk is not there",
  "storage-stalled": "the disk does not answer",
  "not-writable": "the disk takes no writes",
  "memory-budget": "no memory left to wait in",
  "chunk-damaged": "damaged on disk",
  "ledger-lost": "what was said of it was cut off by other hands",
  "segment-missing": "the file was removed by other hands",
  "segment-damaged": "the file was cut or damaged",
};

const EVENTS = {
  "camera-online": "Camera online",
  "camera-offline": "Camera offline",
  "auth-failed": "Password refused",
  "config-changed": "Picture format changed",
  "clock-step": "Clock was set",
  "clock-drift": "Camera clock drifts",
  "not-recording": "NOT RECORDING",
  "recording-resumed": "Recording again",
  "network-loss": "Packets lost",
  "overload-shed": "Footage dropped under overload",
  "storage-error": "Storage failed",
  "storage-recovered": "Storage works again",
  "server-started": "Server started",
  "server-stopped": "Server stopped",
  "config-reloaded": "Configuration reloaded",
  "config-rejected": "Configuration refused",
  "driver-bug": "Bug in a driver",
  "storage-full": "Storage is full",
  "storage-stalled": "The disk does not answer",
  "storage-slow": "The disk is too slow",
  "storage-let-go": "Storage was let go: it can be unmounted",
  "moved-to-fallback": "Another storage stands in",
  "moved-home": "Recording in its own storage again",
  "fallback-error": "The storage that stands in failed",
  "fallback-recovered": "The storage that stands in works again",
  "reclaim-held": "Deletion is held back",
  "reclaim-confirmed": "Deletion was confirmed",
  "storage-accepted": "An older copy of a disk is used",
  "reclaim-short": "Nothing may be deleted to make room",
  "chunk-corrupt": "Damaged footage found",
  "file-restored": "A file was taken by other hands and written again",
  "file-taken": "A file was taken by other hands",
  "ledger-lost": "Statements were cut off by other hands",
  "segment-missing": "A file of footage is missing",
  "segment-damaged": "A file of footage was cut or damaged",
  "file-left-alone": "Unknown file in a storage",
  "coverage-unexplained": "A second without explanation",
  "clock-implausible": "The server's clock is not set",
  "ledger-error": "Statements cannot be written",
  "segment-not-created": "No room for the next segment",
  "camera-identity-changed": "Another address: the camera has a new identity",
};

export function stateText(state, reason) {
  const word = STATES[state] ?? state;
  return reason ? `${word} (${REASONS[reason] ?? reason})` : word;
}

export function eventText(code) {
  return EVENTS[code] ?? code;
}

export function paramsText(params) {
  return Object.entries(params)
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}

export function clockText(ms) {
  return new Date(ms).toLocaleTimeString([], { hour12: false });
}

export function durationText(ms) {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  return `${Math.round(ms / 60_000)} min`;
}
