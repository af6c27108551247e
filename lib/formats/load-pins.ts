import type { PolicyOptions } from '../policy/policy-set.js'
import { loadPinsFile } from '../late.cjs'

/**
 * Reads a pins file (JSON with comments, or YAML; at most 8 MiB), synchronously, and checks everything in it. The result
 * can be spread into the options: `pinAxios(api, { ...loadPins('pins.json'), onBadCertificate })`.
 *
 * @param path of the file, relative to the working directory, or a `file:` URL
 * @throws {PinsFileInvalidError} `ERR_PIN_POLICY_INVALID` with line, column and path of everything wrong in the file
 * @throws {PolicyInvalidError} when there is no such file, it is no regular file, too large or no UTF-8 text
 * @throws {TypeError} for what is no path
 */
export function loadPins(path: string | URL): PolicyOptions {
  return loadPinsFile().readPinsFile(path).policy
}
