// mTLS with files that are replaced while the program runs, as certbot, Vault or Kubernetes replace them.
import axios from 'axios'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const [root, clientRoot] = [createAuthority(), createAuthority()]
const [certificate, backup] = [root.issue(), root.issue()]
/** @type {import('node:http').RequestListener} */
const greet = (req, res) => void res.end(String(/** @type {import('node:tls').TLSSocket} */ (req.socket).getPeerCertificate().subject.CN))
const server = await startHttpsServer(certificate, greet, { requestCert: true, ca: clientRoot.pem })

const folder = await mkdtemp(join(tmpdir(), 'client-certificate-'))
const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
const put = async (/** @type {string} */ name) => {
  const { pem, keyPem } = clientRoot.issue({ name, extendedKeyUsage: ['clientAuth'] })
  await Promise.all([writeFile(`${certFile}.new`, pem), writeFile(`${keyFile}.new`, keyPem)])
  await Promise.all([rename(`${certFile}.new`, certFile), rename(`${keyFile}.new`, keyFile)])
}

await put('today')
const api = axios.create({ baseURL: server.url, proxy: false })
const pinning = pinAxios(api, { pins: { localhost: [certificate.pin, backup.pin] }, tls: { ca: root.pem, clientCertificate: { certFile, keyFile } } })
console.log('I am', (await api.get('/')).data)
await put('tomorrow')
while (pinning.status().clientCertificate?.subject !== 'CN=tomorrow') await setTimeout(100)
console.log('I am', (await api.get('/')).data)
await Promise.all([pinning.close(), server.close(), rm(folder, { recursive: true })])
