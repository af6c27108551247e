// Reading order: pin/ and policy/ (what was asked), verify/ (is this peer the one?), transport/ (the only owner of
// sockets), axios/ (how requests get there), report/ (what is told).
export { createPinnedAxios, createPinning, pinAxios } from './axios/plugin.js'
export type { Pinning } from './axios/plugin.js'
export { createPinningAgent, createPinningDispatcher } from './pinning.js'
export type { AdapterRequest, PinningOptions, PinningStatus } from './pinning.js'
export { loadPins } from './formats/load-pins.js'
export { fingerprintOf, pinOf } from './pin/spki.js'
export type { PinSource } from './pin/spki.js'
export type { HostPolicy, PinningMode } from './policy/policy.js'
export type { ModeFunction, ModeOptions, ModeSource } from './policy/mode.js'
export type { PolicyOptions, PolicySummary } from './policy/policy-set.js'
export type { IntegrityOptions, IntegrityStatus } from './integrity/integrity.js'
export type { IntegrityFinding } from './integrity/switches.js'
export type { Threat, ThreatEvidence, ThreatKind, ThreatSeverity } from './report/threat.js'
export type { ThreatOptions, ThreatResponse } from './report/threat-response.js'
export type { ExpiryOptions, ExpiryReport } from './report/expiry.js'
export type { PinReport } from './report/report.js'
export type { Counters, ReportOptions } from './report/reporter.js'
export type { DeliveryCounters } from './report/report-queue.js'
export type { ReportEndpoint, ReportReceiver, ReportTo } from './report/report-to.js'
export { pinningSerializers } from './report/serializers.js'
export type { OpenTelemetryOptions } from './report/telemetry.js'
export type { PinViolation, ReportingApp } from './report/violation.js'
export type { PinningLogger } from './report/logger.js'
export type { PinMatch, PinResult } from './verify/verify.js'
export type { CertificateAuthorities } from './verify/anchors.js'
export type { UndiciDispatcher } from './transport/dispatcher.js'
export type { AxiosProxy, TunnelAgent } from './transport/proxy.js'
export type { ProxyOptions } from './transport/proxy-connector.js'
export type { PoolOptions, TlsOptions } from './transport/tls-options.js'
export type { UpdateReport } from './report/update-report.js'
export type { HttpsSourceOptions } from './update/https-source.js'
export type { SigningKeySource } from './update/keys.js'
export type { PinSetHost, PinSetPayload } from './update/manifest.js'
export type { UpdateOptions } from './update/options.js'
export { staticSource } from './update/source.js'
export type { PinSetAnswer, PinSetRequest, PinSetSource } from './update/source.js'
export type { PinSetState, PinSetStore } from './update/store.js'
export type { UpdateStatus } from './update/updater.js'
export type { PathWatchOptions } from './update/path-watcher.js'
export type { RedisClient, RedisSourceOptions } from './update/redis-source.js'
export { memoryStore } from './update/store.js'
export { fileSource, fileStore, httpsSource, redisSource, signManifest } from './update/surface.js'
export type { ClientCertificateOptions, ClientCertificateStatus } from './transport/client-certificate.js'
export type { KeyExchange } from './transport/key-exchange.js'
export {
  BypassError,
  ChainUnverifiedError,
  HostUnpinnedError,
  IntegrityError,
  LockdownError,
  PinInvalidError,
  PinMismatchError,
  PinsFileInvalidError,
  PinningError,
  PolicyExpiredError,
  PolicyInvalidError,
  ProxyError,
  UpdateRejectedError,
  findDiagnosis,
  findPinningError,
  isPinningError
} from './errors.js'
export type { CertificateSummary, Diagnosis, DiagnosisVerdict, FileProblem, PeerFacts, PinningErrorCode, UpdateRejection } from './errors.js'
