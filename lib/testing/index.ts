// axios-ssl-pinning/testing: certificates and servers for the tests of programs that pin.
export { Authority, IssuedCertificate, authorityFrom, certificateRequest, createAuthority, createSelfSigned, distinguishedName, generalNames, generateKey, impersonate, indefiniteLength, issueWith, paddedLength } from './pki.js'
export type { CertificateOptions, CertificateParts, Extension, GeneralNameKind, HashName, KeyKind, KeyPair, NameAttribute, NamedKeyKind } from './pki.js'
export { der } from './der-writer.js'
export type { StringType } from './der-writer.js'
export { faults } from './faults.js'
export { startHttpsServer, startTlsServer } from './server.js'
export type { HttpsTestServer, TestServer, TestServerOptions } from './server.js'
