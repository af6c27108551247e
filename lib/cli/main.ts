#!/usr/bin/env node
// The command `axios-ssl-pinning` (package.json's "bin"): only starts program.ts and ends the process with its exit code.
import { readFileSync } from 'node:fs'
import { exitCode } from './exit.js'
import { openStdout } from './output.js'
import { runProgram } from './program.js'

const stdout = openStdout()

// What a script goes on with would be empty, or a part: a full disk must not look like success.
stdout.on('error', (error: NodeJS.ErrnoException) => {
  // `axios-ssl-pinning … | head` closes the pipe early; there is nobody left to tell.
  if (error.code === 'EPIPE') process.exit(exitCode.ok)
  process.stderr.write(`axios-ssl-pinning: standard output cannot be written: ${error.message}\n`)
  process.exit(exitCode.usage)
})
process.stderr.on('error', () => undefined)

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
const terminal = { stdout, stderr: process.stderr, env: process.env, get stdin() { return process.stdin } }

void runProgram(process.argv.slice(2), terminal, version).then((code) => {
  process.exitCode = code
  // Once all is written, whatever may still be open. An error is the listener's above.
  stdout.write('', (error) => {
    if (!error) process.exit(code)
  })
})
