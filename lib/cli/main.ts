#!/usr/bin/env node
// The command `axios-ssl-pinning` (package.json's "bin"): only starts program.ts and ends the process with its exit code.
import { readFileSync } from 'node:fs'
import { runProgram } from './program.js'

// `axios-ssl-pinning … | head` closes the pipe early; there is nobody left to tell.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 70))

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }

void runProgram(process.argv.slice(2), process, version).then((code) => {
  process.exitCode = code
  // Once all is written, whatever may still be open.
  process.stdout.write('', () => process.exit(code))
})
