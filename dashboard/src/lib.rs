//! Shows the rolled-up numbers: pages for people, CSV and JSON for programs, all of one model.
//!
//! The path of a request: [`server`] takes the connection; [`routes`] finds the handler in its table, and
//! [`access`] lets through who may; [`query`] reads the address;
//! [`read`] asks MongoDB for roll-ups, whose [`rows`] stay in [`memory`], and [`person`] for what is a user's own; [`report`] makes the model of them, with the numbers of [`figures`]; [`pages`] writes it as HTML,
//! CSV or JSON, with [`words`], [`chart`] and [`csv`]. [`sign_in`] begins a session of [`sessions`], where people come from a provider of [`oidc`] too; a [`viewer`] is who holds its token. [`people`] and [`suggestions`]
//! find what administrators and moderators look for; what these change goes through [`record`]. [`live`] reads the last hour for all viewers of `/live`. A [`failure`] becomes a page or a problem document.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod accounts;
pub mod app;
pub mod chart;
pub mod commands;
pub mod csv;
pub mod device;
pub mod failure;
pub mod figures;
pub mod form;
pub mod limits;
pub mod live;
pub mod logins;
pub mod memory;
pub mod metrics;
pub mod mine;
pub mod names;
pub mod oidc;
pub mod pages;
pub mod people;
pub mod person;
pub mod plain;
pub mod query;
pub mod read;
pub mod record;
pub mod report;
pub mod routes;
pub mod rows;
pub mod server;
pub mod sessions;
pub mod sign_in;
pub mod suggestions;
pub mod texts;
pub mod viewer;
pub mod words;
