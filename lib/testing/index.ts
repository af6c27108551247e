// axios-ssl-pinning/testing: certificates and servers for the tests of programs that pin.
export { Authority, IssuedCertificate, authorityFrom, certificateRequest, createAuthority, createSelfSigned, generateKey, impersonate, issueWith } from './pki.js'
export type { CertificateOptions, KeyKind, KeyPair } from './pki.js'
export { startHttpsServer } from './server.js'
export type { HttpsTestServer } from './server.js'
