/* pg_concord: install script, built from extension/sql/NN_room.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_concord" to load this file. \quit

REVOKE ALL ON SCHEMA concord FROM PUBLIC;
